"""Settings: from the environment, within bounds, and through it to the processes that are started."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from maskq import Client, InvalidJob, Settings
from maskq.cli.app import app
from maskq.workers.programs import settings_env


def test_every_setting_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"BROKER_URL": "redis://there", "DEVICES": "cuda:0=on", "LEASE_S": "2.5", "MODELS": "/models"}
    for name, value in given.items():
        monkeypatch.setenv(f"MASKQ_{name}", value)
    found = Settings()
    assert (found.broker_url, found.devices, found.lease_s) == ("redis://there", "cuda:0=on", 2.5)
    assert found.models == "/models"


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_URL", "MODELS", "LEASE_S"):
        monkeypatch.setenv(f"MASKQ_{name}", "")
    found = Settings()
    assert (found.broker_url, found.models, found.lease_s) == (None, None, 8)


def test_the_broker_of_a_running_stack_is_found_where_none_is_named(tmp_path: Path) -> None:
    none = Settings(broker_url=None, state_dir=tmp_path)
    assert none.with_broker().broker_url is None
    with pytest.raises(InvalidJob, match="MASKQ_BROKER_URL"):
        Client(settings=none)
    none.broker_file.write_text("redis://running\n")
    assert none.with_broker().broker_url == "redis://running"
    assert Settings(broker_url="redis://named", state_dir=tmp_path).with_broker().broker_url == "redis://named"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLUSTER_PROCESSES", "0"),
        ("DEVICE_THREADS", "many"),
        ("BATCH_WAIT_MS", "-1"),
        ("LEASE_S", "0"),
        ("MAX_ATTEMPTS", "0"),
        ("FLOWER_PORT", "65536"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MASKQ_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_the_command_line_tells_a_bad_value_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKQ_LEASE_S", "soon")
    told = CliRunner().invoke(app, ["status", "x"])
    assert told.exit_code == 2
    assert told.stderr.startswith("maskq: lease_s: ") and told.stderr.endswith("(given 'soon')\n")
    assert told.stderr.count("\n") == 1


def test_a_process_that_is_started_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Settings(
        broker_url="redis://:p%20w@there/3",
        models="/a b",
        model_memory=5,
        lease_s=0.25,
        max_pixels=7,
        store_url="memory://x",
    )
    for name, value in settings_env(chosen).items():
        monkeypatch.setenv(name, value)
    assert Settings() == chosen
