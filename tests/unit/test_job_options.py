"""`maskq run` and `maskq submit` have an option for every option of a job, checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from maskq import InvalidJob, Options
from maskq.cli import jobs
from maskq.cli.app import app
from maskq.cli.job_options import JobFlags
from maskq.producer.client.client import Client


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The keyword arguments of `Client.submit_many`, which sends nothing."""
    calls: list[dict[str, Any]] = []

    def submit_many(self: Client, sources: Iterable[Path], **job: Any) -> None:
        calls.append(job)
        raise InvalidJob("not sent")

    monkeypatch.setattr(Client, "submit_many", submit_many)
    monkeypatch.setattr(jobs, "connect", lambda: Client("redis://127.0.0.1:1"))
    return calls


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "cells.tif"
    path.touch()
    return str(path)


def test_every_option_of_a_job_is_an_option_of_both_commands() -> None:
    assert {item.name for item in fields(JobFlags)} == set(Options.model_fields)
    group: Any = get_command(app)
    for command in ("run", "submit"):
        names = {parameter.name for parameter in group.commands[command].params}
        assert set(Options.model_fields) <= names and "options" not in names


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], Options()),
        (["--channels", "2"], Options(channels=2)),
        (["--channels", "DAPI"], Options(channels="DAPI")),
        (["--channels", "1, Alexa 488,3"], Options(channels=(1, "Alexa 488", 3))),
        (["--channels", "red,blue", "--composite", "max"], Options(channels=("red", "blue"), composite="max")),
        (["--axes", "cyx"], Options(axes="CYX")),
        (["--planes", "max:3-10"], Options(planes="max:3-10")),
        (
            ["--planes", "all", "--link", "iou", "--link-threshold", "0.4"],
            Options(planes="all", link="iou", link_threshold=0.4),
        ),
        (["--scene", "2", "--level", "0"], Options(scene=2, level=0)),
        (["--resolution", "0.5", "--region", "tissue"], Options(resolution=0.5, region="tissue")),
        (["--region", "10, 20,300,400"], Options(region=(10, 20, 300, 400))),
        (["--nan-as-background", "--tta", "--diameter", "30"], Options(nan_as_background=True, tta=True, diameter=30)),
    ],
)
def test_arguments_become_the_jobs_options(
    arguments: list[str], options: Options, image: str, submitted: list[dict[str, Any]]
) -> None:
    CliRunner().invoke(app, ["submit", image, *arguments])
    assert [job["options"] for job in submitted] == [options]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--channels", "0"], "channels: should be a channel's number from 1"),
        (["--channels", "1,,2"], "channels: should be a channel's number from 1"),
        (["--composite", "sum"], "composite: Input should be 'mean' or 'max'"),
        (["--axes", "ABC"], "axes: should be two to five of the letters"),
        (["--planes", "some"], "planes: should be all, a number from 1"),
        (["--region", "1,2,3"], "region: should be tissue, or four whole numbers"),
        (["--region", "1,2,3,x"], "region: should be tissue, or four whole numbers"),
        (["--link", "dice"], "link: Input should be 'iou'"),
        (["--resolution", "0"], "resolution: Input should be greater than 0"),
    ],
)
@pytest.mark.parametrize("command", ["run", "submit"])
def test_wrong_arguments_are_refused_on_one_line_before_anything_starts(
    command: str, arguments: list[str], message: str, image: str, tmp_path: Path, submitted: list[dict[str, Any]]
) -> None:
    out = ["--out", str(tmp_path / "out")] if command == "run" else []
    result = CliRunner().invoke(app, [command, image, *out, *arguments])
    assert result.exit_code == 2 and result.stderr.startswith(f"maskq: {message}")
    assert result.stderr.count("\n") == 1
    assert not submitted and not (tmp_path / "out").exists()


def test_help_groups_the_options() -> None:
    output = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "120"}).output
    assert [panel for panel in ("Channels", "Stacks", "Part of the file") if f"─ {panel} ─" in output] == [
        "Channels",
        "Stacks",
        "Part of the file",
    ]
