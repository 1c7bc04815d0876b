"""Settings: read from the environment, validated, and passed through it to child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from maskq import Client, InvalidJob, Settings
from maskq.cli.app import app
from maskq.producer.settings import variable
from maskq.workers.programs import settings_env


def test_every_setting_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"BROKER_URL": "redis://there", "DEVICES": "cuda:0=on", "LEASE_S": "2.5", "MODELS": "/models"}
    for name, value in variables.items():
        monkeypatch.setenv(f"MASKQ_{name}", value)
    settings = Settings()
    assert (settings.broker_url, settings.devices, settings.lease_s) == ("redis://there", "cuda:0=on", 2.5)
    assert settings.models == "/models"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_URL", "MODELS", "LEASE_S"):
        monkeypatch.setenv(f"MASKQ_{name}", "")
    settings = Settings()
    assert (settings.broker_url, settings.models, settings.lease_s) == (None, None, 8)


def test_without_a_broker_url_the_running_stack_is_used(tmp_path: Path) -> None:
    unset = Settings(broker_url=None, state_dir=tmp_path)
    assert unset.with_broker().broker_url is None
    with pytest.raises(InvalidJob, match="MASKQ_BROKER_URL"):
        Client(settings=unset)
    unset.broker_file.write_text("redis://running\n")
    assert unset.with_broker().broker_url == "redis://running"
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
def test_a_value_out_of_bounds_is_rejected_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"MASKQ_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_the_command_line_reports_a_bad_value_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKQ_LEASE_S", "soon")
    command = CliRunner().invoke(app, ["status", "x"])
    assert command.exit_code == 2
    assert command.stderr.startswith("maskq: MASKQ_LEASE_S: ") and command.stderr.endswith("(given 'soon')\n")
    assert command.stderr.count("\n") == 1


def test_a_child_process_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        broker_url="redis://:p%20w@there/3",
        models="/a b",
        model_memory=5,
        lease_s=0.25,
        max_pixels=7,
        store_url="memory://x",
    )
    for name, value in settings_env(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_the_addresses_that_kubernetes_puts_into_every_pod_are_no_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKQ_GATEWAY_PORT", "tcp://10.96.0.12:8000")
    monkeypatch.setenv("MASKQ_FLOWER_PORT", "tcp://10.96.0.13:5555")
    assert (Settings().gateway_port, Settings().flower_port) == (8000, 5555)


def test_a_client_reads_only_the_settings_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLUSTER_PROCESSES", "GATEWAY_PORT", "LOG_LEVEL", "TORCH_THREADS"):
        monkeypatch.setenv(f"MASKQ_{name}", "nonsense")
    Client("redis://there").close()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_the_default_of_cluster_processes_counts_the_cores_that_the_process_may_use() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); os.cpu_count = lambda: 64\n"
        "from maskq import Settings; print(Settings().cluster_processes)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "1\n"


def test_a_models_folder_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for nowhere in tmp_path / "nowhere", f"file://{tmp_path}/nowhere":
        with pytest.raises(InvalidJob, match=f"MASKQ_MODELS: there is no folder {tmp_path}/nowhere;"):
            _ = Settings(models=str(nowhere)).model_folders
    assert Settings(models="s3://bucket/models").model_folders == ("s3://bucket/models",)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    assert Settings(models="~/models").model_folders == (str(tmp_path / "models"),)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = [name for name, field in Settings.model_fields.items() if field.annotation in (Path, Path | None)]
    assert {"state_dir", "trace"} <= {*paths}
    for name in paths:
        monkeypatch.setenv(variable(name), "~/x")
        assert getattr(Settings(), name) == tmp_path / "x"
