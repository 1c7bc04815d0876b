"""Device specifications, the detection of devices, and the environments of their processes."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskq.producer.settings import Settings
from maskq.workers.device import hardware
from maskq.workers.device.accelerators.base import Gpu
from maskq.workers.device.hardware import Hardware
from maskq.workers.device.spec import DeviceSpec, InvalidDevices, parse
from maskq.workers.programs import device_program

TWO = Hardware(8, 2**35, (Gpu("NVIDIA H100", 80 * 2**30), Gpu("NVIDIA A100", 40 * 2**30)))
NONE = Hardware(8, 2**35)

specs = st.builds(
    DeviceSpec,
    st.sampled_from(["cpu", "cuda:0", "cuda:1", "cuda:17"]),
    st.sampled_from(["on", "off", "auto"]),
    st.sampled_from(["both", "fixed", "varied"]),
    st.integers(0, 1024),
    st.sampled_from(["fp32", "bf16", "fp16"]),
)


def of(text: str, machine: Hardware = TWO) -> tuple[DeviceSpec, ...]:
    return parse(text, lambda: machine)


def visible(spec: DeviceSpec, environment: Mapping[str, str]) -> str:
    return spec.environment(environment)["CUDA_VISIBLE_DEVICES"]


def not_probed() -> Hardware:
    raise AssertionError("the probe ran")


def test_each_device_has_its_own_benchmark_setting_and_options() -> None:
    assert of("cuda:0=on;lanes=fixed;batch=16;precision=bf16, cuda:1, cpu = off ; lanes = varied") == (
        DeviceSpec("cuda:0", "on", "fixed", 16, "bf16"),
        DeviceSpec("cuda:1", "auto", "both", 0, "fp32"),
        DeviceSpec("cpu", "off", "varied"),
    )


@given(specs)
def test_a_device_is_read_as_it_is_written(spec: DeviceSpec) -> None:
    assert DeviceSpec.from_string(str(spec)) == spec


@given(st.lists(specs, min_size=1, unique_by=lambda spec: spec.device))
def test_a_specification_is_read_as_it_is_written(listed: list[DeviceSpec]) -> None:
    machine = Hardware(1, 1, (Gpu("", 0),) * 18)
    assert of(",".join(map(str, listed)), machine) == tuple(listed)


@given(st.text(alphabet="cpudaut:0123=onf;lesbthk,vri ", max_size=30))
def test_whatever_is_written_is_read_or_refused_by_its_place(text: str) -> None:
    try:
        devices = of(text)
    except InvalidDevices as error:
        assert "devices, entry " in str(error)
    else:
        assert of(",".join(map(str, devices))) == devices


def test_where_no_gpu_is_named_torch_is_not_asked() -> None:
    assert parse("cpu=on", not_probed) == (DeviceSpec("cpu", "on"),)
    with pytest.raises(AssertionError):
        parse("cpu,cuda:0", not_probed)


def test_processes_are_told_apart_by_name() -> None:
    devices = of("cuda:0,cuda:1;lanes=fixed,cpu;lanes=varied")
    assert [(spec.node, spec.index) for spec in devices] == [("gpu0", 0), ("gpu1-fixed", 1), ("cpu-varied", None)]
    assert [spec.is_gpu for spec in devices] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "entry 1: '' is no device; cpu, cuda:N, cuda .all of them. or auto would do"),
        ("cpu,", "entry 2: '' is no device"),
        ("cpu,gpu0", "entry 2: 'gpu0' is no device"),
        ("cuda:-1", "entry 1: 'cuda:-1' is no device"),
        ("cuda:0=fast", "entry 1: benchmark 'fast': on or off or auto would do"),
        ("cuda:0=", "entry 1: benchmark '': on or off or auto"),
        ("cpu,cuda:0;lanes=all", "entry 2: lanes 'all': both or fixed or varied would do"),
        ("cpu;batch=0", "entry 1: batch '0': 1 to 1024 would do"),
        ("cpu;batch=1025", "entry 1: batch '1025': 1 to 1024 would do"),
        ("cpu;batch=²", "entry 1: batch '²'"),
        ("cpu;precision=fp8", "entry 1: precision 'fp8': fp32 or bf16 or fp16 would do"),
        ("cpu;speed=9", "entry 1: 'speed=9' is no option; lanes=, batch= and precision= would do"),
        ("cpu;lanes", "entry 1: 'lanes' is no option"),
        ("cpu;batch=2;batch=3", "entry 1: 'batch=3': batch is there twice"),
        ("cpu,auto", "entry 2: auto stands alone"),
        ("cpu,cuda:1,cpu=on", "entry 3: cpu is there twice"),
        ("cuda:1,cuda:01", "entry 2: cuda:1 is there twice"),
        ("cuda:1,cuda", "entry 2: cuda:1 is there twice"),
        ("cuda:3", r"entry 1: cuda:3 is not there; there are cpu, cuda:0 .NVIDIA H100, 80 GiB., cuda:1 .NVIDIA A100"),
    ],
)
def test_a_bad_specification_is_told_with_its_place_and_what_would_do(text: str, why: str) -> None:
    with pytest.raises(InvalidDevices, match=why):
        of(text)


def test_where_torch_could_not_be_asked_the_refusal_says_why() -> None:
    with pytest.raises(InvalidDevices, match=r"there is no cuda device \(no driver\); there are cpu$"):
        of("cuda=on", Hardware(1, 1, probe_error="no driver"))


def test_auto_and_cuda_are_every_gpu_with_their_options_and_auto_the_cpu_where_there_is_none() -> None:
    both = (DeviceSpec("cuda:0", "on", batch=4), DeviceSpec("cuda:1", "on", batch=4))
    assert of("cuda=on;batch=4") == of("auto=on;batch=4") == both
    assert of(" auto ", NONE) == (DeviceSpec("cpu"),)
    with pytest.raises(InvalidDevices, match="entry 1: there is no cuda device; there are cpu$"):
        of("cuda", NONE)


def test_auto_that_falls_back_to_the_cpu_because_the_probe_failed_warns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert of("auto=on", NONE) == (DeviceSpec("cpu", "on"),)
        assert caplog.messages == []
        assert of("auto=on", Hardware(1, 1, probe_error="no driver")) == (DeviceSpec("cpu", "on"),)
    (message,) = caplog.messages
    assert all(words in message for words in ("could not be detected (no driver)", "uses the CPU", "`maskq devices`"))


def test_a_failed_probe_is_reported_on_standard_error() -> None:
    """In a process that does not configure logging, as the command line's."""
    code = "import maskq.workers.device.spec as s; s.parse('auto', lambda: s.Hardware(1, 1, probe_error='no driver'))"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert "could not be detected (no driver)" in run.stderr and run.stdout == ""


@pytest.mark.parametrize("text", ["cuda", "auto", "cuda=on"])
def test_a_process_has_one_device(text: str) -> None:
    with pytest.raises(InvalidDevices, match="one device is"):
        DeviceSpec.from_string(text)


def test_a_process_sees_its_gpu_alone_by_the_name_it_has_here() -> None:
    second = DeviceSpec("cuda:1")
    assert visible(second, {}) == "1"
    assert visible(second, {"CUDA_VISIBLE_DEVICES": "4, GPU-7f"}) == "GPU-7f"
    assert visible(DeviceSpec("cpu"), {"CUDA_VISIBLE_DEVICES": "4"}) == ""


@pytest.mark.parametrize(
    ("returncode", "stdout", "stderr", "gpus", "probe_error"),
    [
        (0, "a warning\n" + json.dumps([["NVIDIA H100", 85_899_345_920]]), "", (Gpu("NVIDIA H100", 80 * 2**30),), ""),
        (0, "[]", "", (), ""),
        (1, "", "Traceback\nModuleNotFoundError: No module named 'torch'\n", (), "No module named 'torch'"),
        (-9, "", "", (), "exit -9"),
    ],
)
def test_what_torch_finds_is_asked_of_another_process(
    monkeypatch: pytest.MonkeyPatch, returncode: int, stdout: str, stderr: str, gpus: tuple[Gpu, ...], probe_error: str
) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, returncode, stdout, stderr)

    monkeypatch.setattr(subprocess, "run", run)
    machine = hardware.detect()
    assert machine.gpus == gpus and probe_error in machine.probe_error
    assert machine.cores >= 1 and machine.memory > 2**20


@pytest.mark.parametrize(("configured", "expected"), [(None, "50000"), ("7", "7")])
def test_how_long_threads_wait_awake_is_left_to_who_sets_it(
    monkeypatch: pytest.MonkeyPatch, configured: str | None, expected: str
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if configured:
        monkeypatch.setenv("GOMP_SPINCOUNT", configured)
    assert device_program(DeviceSpec("cpu"), Settings()).env["GOMP_SPINCOUNT"] == expected
