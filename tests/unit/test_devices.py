"""The device specification."""

from __future__ import annotations

import pytest

from workers import devices
from workers.devices import DeviceSpec, InvalidDevices, parse


def test_each_device_has_its_own_benchmark_setting() -> None:
    assert parse("cuda:0=on, cuda:12=off,cpu") == (
        DeviceSpec("cuda:0", benchmark=True),
        DeviceSpec("cuda:12", benchmark=False),
        DeviceSpec("cpu", benchmark=False),
    )


def test_a_device_is_written_as_it_is_read() -> None:
    for spec in parse("cuda:0=on,cuda:1,cpu"):
        assert parse(str(spec)) == (spec,)


def test_processes_are_told_apart_by_name() -> None:
    specs = parse("cuda:0,cuda:12,cpu")
    assert [(spec.node, spec.index) for spec in specs] == [("gpu0", "0"), ("gpu12", "12"), ("cpu", "")]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "entry 1: ''"),
        ("cpu,", "entry 2: ''"),
        ("cpu,gpu0", "entry 2: 'gpu0'"),
        ("cuda", "entry 1: 'cuda'"),
        ("cuda:-1", "entry 1: 'cuda:-1'"),
        ("cuda:0=fast", "entry 1: 'cuda:0=fast'"),
        ("cpu,auto", "entry 2: 'auto'"),
        ("cpu,cuda:1,cpu=on", "entry 3: cpu is there twice"),
        ("cuda:1,cuda:01", "entry 2: cuda:1 is there twice"),
    ],
)
def test_a_bad_specification_is_told_with_its_place(text: str, where: str) -> None:
    with pytest.raises(InvalidDevices, match=where):
        parse(text)


@pytest.mark.parametrize(("gpus", "expected"), [(0, "cpu=off"), (2, "cuda:0=off,cuda:1=off")])
def test_auto_is_every_gpu_or_else_the_cpu(monkeypatch: pytest.MonkeyPatch, gpus: int, expected: str) -> None:
    monkeypatch.setattr(devices, "count_gpus", lambda: gpus)
    assert parse(" auto ") == parse(expected)
