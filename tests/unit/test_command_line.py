"""Arguments that can't work are refused on one plain line, with status 2, before anything starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from maskq.cli import extras, terminal
from maskq.cli.app import app
from maskq.cli.writable import NotWritable, output_folder
from maskq.producer.client.client import Client


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be sent or started."""
    monkeypatch.setenv("MASKQ_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(Client, "check", lambda _: pytest.fail("the broker was asked"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.touch()
    return path


def refusal(*arguments: object) -> str:
    """The line of a command that ends with status 2."""
    command = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert command.exit_code == 2, command.output
    assert command.stderr.startswith("maskq: ") and command.stderr.count("\n") == 1
    return command.stderr.removeprefix("maskq: ").strip()


@pytest.mark.parametrize(
    "command",
    [
        ("run", "a.png", "--out"),
        ("result", "job", "--out"),
        ("train", "data", "--model", "cells", "--out"),
        ("labels", "data", "--out"),
        ("evaluate", "data", "--pictures"),
        ("models", "import", "best.pth", "--model", "cells", "--out"),
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("below", ["", "/masks"])
def test_a_file_as_the_folder_to_write_to_is_refused(command: tuple[str, ...], below: str, image: Path) -> None:
    assert refusal(*command, f"{image}{below}") == f"{image} is not a folder: give a folder to write to"


def test_a_folder_as_the_file_to_write_to_is_refused(image: Path) -> None:
    assert refusal("bench", image, "--trace", image.parent) == f"{image.parent} is a folder: give a file"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_folder_that_is_not_writable_is_refused() -> None:
    """Nothing can be made in /proc, not even by root, whose permissions say that it can."""
    with pytest.raises(NotWritable, match="^/proc: nothing can be written there: "):
        output_folder(Path("/proc/new/masks"))


def test_a_name_that_the_file_system_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotWritable, match=f"^{tmp_path}: nothing can be written there: File name too long$"):
        output_folder(tmp_path / ("x" * 300))


def test_the_home_folder_is_meant_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells expand `~` at the start of a word only, not in `--out=~/masks`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = [(*path, path[-1].callback) for path in _paths(app)]
    assert len(paths) > 8
    for command, parameter, info, expand in paths:
        assert expand and expand(Path("~/x")) == tmp_path / "x", (command, parameter, info)


def _paths(group: typer.Typer) -> Iterator[tuple[str, str, Any]]:
    """The commands' parameters that are paths, with what Typer knows of them."""
    for command in group.registered_commands:
        assert command.callback
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            kind, *info = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            if info and (kind is Path or Path in get_args(kind)):
                yield command.callback.__name__, name, info[0]
    for each in group.registered_groups:
        if each.typer_instance:
            yield from _paths(each.typer_instance)


def test_a_new_folder_is_not_made_yet(tmp_path: Path) -> None:
    assert output_folder(tmp_path / "new" / "masks") == tmp_path / "new" / "masks"
    assert list(tmp_path.iterdir()) == []


def test_a_key_for_several_images_is_refused(image: Path) -> None:
    (image.parent / "b.png").touch()
    message = "--key is the name of one job, and here are 2 images: submit them one by one"
    assert refusal("submit", image.parent, "--key", "z") == message


def test_a_bad_setting_is_called_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKQ_MAX_BYTES", "all")
    assert refusal("status", "x").startswith("MASKQ_MAX_BYTES: Input should be a valid integer")


@pytest.mark.parametrize(
    ("missing", "extra"), [("numba", "cluster"), ("torch", "worker"), ("flower", "worker"), ("uvicorn", "gateway")]
)
def test_a_missing_module_is_reported_with_the_extra_that_has_it(
    missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module == missing else object())
    expected = f"this command needs {missing}: pip install 'maskq[{extra}]' (or, in a checkout, '.[{extra}]')"
    assert refusal("up") == expected


def test_skipped_files_of_folders_are_counted_and_named(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_skipped([str(image.parent), str(image)])
    assert not capsys.readouterr().err
    for name in ("d.json", "c.txt", ".DS_Store"):
        (image.parent / name).touch()
    terminal.show_skipped([str(image.parent), str(image.parent / "*")])
    assert capsys.readouterr().err == "2 files are skipped, as no image by its name: c.txt, d.json\n"


def test_skipped_subfolders_are_counted_and_named(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (image.parent / "plate" / "deeper").mkdir(parents=True)
    (image.parent / "plate" / "deeper" / "notes.txt").touch()
    terminal.show_skipped([str(image.parent)])
    assert capsys.readouterr().err == "1 subfolder is skipped, use --recursive for the images in it: plate\n"
    terminal.show_skipped([str(image.parent)], recursive=True)
    assert capsys.readouterr().err == "1 file is skipped, as no image by its name: notes.txt\n"
