"""How batches run on a device: what cudnn is told, which errors mean what, and that a batch changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from producer.settings import Settings
from segmentation.catalogue.repository import find
from segmentation.fields import unpack
from segmentation.segmenter import Segmenter
from workers.batching import Kind
from workers.counters import Counters
from workers.cudnn import SEARCH, CudnnBenchmark
from workers.device import Device
from workers.devices import DeviceSpec
from workers.forward import CpuRunner, GpuRunner
from workers.models import LoadedModels
from workers.owner import DeviceLost, DeviceMemoryExhausted

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _own_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag is the process's: as it was, afterwards."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)


class Model:
    """Notes under which flag and by which thread it was launched; does nothing else but what it is told to raise."""

    def __init__(self, error: Callable[[], Exception] | None = None) -> None:
        self.launched: list[tuple[bool, str]] = []
        self._error = error

    def start(self, batch: list[Any], shape: tuple[int, int]) -> list[Any]:
        self.launched.append((torch.backends.cudnn.benchmark, threading.current_thread().name))
        if self._error:
            raise self._error()
        return batch

    def finish(self, started: list[Any]) -> list[Any]:
        return started


def kind(model: Any) -> Kind[Any]:
    return Kind(model, "cells@1", (64, 96))


def run(runner: Any, model: Model, count: int = 2) -> bool:
    """One batch; whether it had to have the device to itself."""
    alone = runner.alone(kind(model), count)
    assert runner.finish(runner.start(kind(model), list(range(count)))) == list(range(count))
    return bool(alone)


def test_batches_with_the_search_and_batches_without_are_launched_by_threads_of_their_own() -> None:
    model, benchmark = Model(), CudnnBenchmark("auto")
    runner = GpuRunner(Counters(), benchmark)
    alone = [run(runner, model) for _ in range(100 * SEARCH) if not benchmark.counters()["cudnn_searches"]]
    assert alone.count(True) == 1 and alone[-1]
    run(runner, model)
    flags = [flag for flag, _ in model.launched]
    assert flags == [False] * (len(alone) - 1) + [True, True]
    threads = [{name for own, name in model.launched if own is flag} for flag in (False, True)]
    assert [len(names) for names in threads] == [1, 1] and threads[0] != threads[1]


def test_each_number_of_images_is_a_shape_of_its_own_to_cudnn() -> None:
    model, runner = Model(), GpuRunner(Counters(), benchmark := CudnnBenchmark("on"))
    assert [run(runner, model, count) for count in (1, 2, 1, 2)] == [True, True, False, False]
    assert benchmark.counters()["cudnn_shapes"] == 2


@pytest.mark.parametrize("make", [lambda c: GpuRunner(c, CudnnBenchmark("off")), lambda c: CpuRunner(c, lambda: 1)])
def test_what_was_run_is_counted(make: Callable[[Counters], Any]) -> None:
    counters = Counters()
    runner = make(counters)
    run(runner, Model(), 2)
    run(runner, Model(), 1)
    found = counters.entries()
    assert (found["batches"], found["images"], found["mean_batch"]) == (2, 3, 1.5)


@pytest.mark.parametrize(
    ("raised", "means"),
    [
        (lambda: torch.OutOfMemoryError("CUDA out of memory"), DeviceMemoryExhausted),
        (lambda: MemoryError(), DeviceMemoryExhausted),
        (lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory"), DeviceMemoryExhausted),
        (lambda: RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceLost),
        (lambda: RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceLost),
        (lambda: RuntimeError("sizes do not match"), RuntimeError),
        (lambda: ValueError("thirteen"), ValueError),
    ],
)
@pytest.mark.parametrize("make", [lambda c: GpuRunner(c, CudnnBenchmark("off")), lambda c: CpuRunner(c, lambda: 1)])
def test_a_device_that_is_too_small_or_lost_is_told_from_an_input_that_can_not_be_run(
    make: Callable[[Counters], Any], raised: Callable[[], Exception], means: type[Exception]
) -> None:
    with pytest.raises(means) as found:
        make(Counters()).start(kind(Model(raised)), [1])
    assert type(found.value) is means


@pytest.fixture
def batching(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device that batches as a GPU does, on the CPU."""
    monkeypatch.setattr(
        "workers.device.LoadedModels", lambda repository, _, *others: LoadedModels(repository, "cpu", *others)
    )
    return Device(DeviceSpec("cuda:0", "on", batch=4), Settings(batch_wait_ms=50))


def test_what_an_image_is_answered_does_not_depend_on_the_batch_that_it_ran_in(
    batching: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, tuple[int, int]]] = []

    def start(segmenter: Segmenter, batch: list[Any], shape: tuple[int, int], own: Any = Segmenter.start) -> Any:
        seen.append((len(batch), shape))
        return own(segmenter, batch, shape)

    monkeypatch.setattr(Segmenter, "start", start)
    monkeypatch.setattr(batching.counters, "_in_hand", 99)
    chance = np.random.default_rng(0)
    images = [
        chance.integers(0, 255, (height, width, 1), np.uint8)
        for height, width in [(120, 128), (128, 100), (90, 121), (128, 128)] * 3
    ]
    with ThreadPoolExecutor(12) as threads:
        packed = list(threads.map(partial(_fields, batching), images))
    assert {shape for _, shape in seen} == {(128, 128)} and max(count for count, _ in seen) == 4
    monkeypatch.undo()
    alone = Segmenter.load(find("nuclei"))
    for image, together in zip(images, packed, strict=True):
        expected, found = unpack(alone.fields(image)), unpack(together)
        shared = np.intersect1d(expected.index, found.index)
        assert len(shared) >= 0.999 * max(len(expected.index), len(found.index))
        np.testing.assert_allclose(
            found.embedding[:, np.isin(found.index, shared)],
            expected.embedding[:, np.isin(expected.index, shared)],
            atol=2e-3,
        )


def _fields(device: Device, image: Any) -> bytes:
    return device.fields("nuclei", image)[1]
