"""The runners: the cudnn benchmark, typed errors, counters; and that batching changes no result."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from maskq.producer.settings import Settings
from maskq.segmentation.clustering.fields import unpack
from maskq.segmentation.models.registry import find
from maskq.segmentation.segmenter import Segmenter
from maskq.segmentation.torch_devices import is_device_error
from maskq.workers.device.batch_runner import DeviceLost, DeviceMemoryExhausted
from maskq.workers.device.batching import BatchKey
from maskq.workers.device.cudnn_benchmark import INITIAL_SEARCH_COST, CudnnBenchmark
from maskq.workers.device.device import Device
from maskq.workers.device.metrics import Counters
from maskq.workers.device.model_cache import ModelCache
from maskq.workers.device.process import main
from maskq.workers.device.runners import CpuRunner, GpuRunner
from maskq.workers.device.spec import DeviceSpec

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _own_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the flag afterwards: it belongs to the process."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)


class Started(list[Any]):
    """A started batch that took `seconds` of a GPU's clock; None without a GPU."""

    def __init__(self, batch: list[Any], seconds: float | None) -> None:
        super().__init__(batch)
        self._seconds = seconds

    def seconds(self) -> float | None:
        return self._seconds


class Model:
    """Records the flag and the thread of each launch; raises `error`, if any, and returns its input."""

    def __init__(self, error: Callable[[], Exception] | None = None, seconds: float | None = None) -> None:
        self.launched: list[tuple[bool, str]] = []
        self._error, self._seconds = error, seconds

    def start(self, batch: list[Any], shape: tuple[int, int]) -> list[Any]:
        self.launched.append((torch.backends.cudnn.benchmark, threading.current_thread().name))
        if self._error:
            raise self._error()
        return Started(batch, self._seconds)

    def finish(self, started: list[Any]) -> list[Any]:
        return started


def key(model: Any) -> BatchKey[Any]:
    return BatchKey(model, "cells@1", (64, 96))


def run(runner: Any, model: Model, count: int = 2) -> bool:
    """Run one batch; returns whether it needed the device to itself."""
    exclusive = runner.exclusive(key(model), count)
    assert runner.finish(runner.start(key(model), list(range(count)))) == list(range(count))
    return bool(exclusive)


def test_batches_with_the_search_and_batches_without_are_launched_by_threads_of_their_own() -> None:
    model, benchmark = Model(), CudnnBenchmark("auto")
    runner = GpuRunner(Counters(), benchmark)
    alone = [run(runner, model) for _ in range(100 * INITIAL_SEARCH_COST) if not benchmark.counters()["cudnn_searches"]]
    assert alone.count(True) == 1 and alone[-1]
    run(runner, model)
    flags = [flag for flag, _ in model.launched]
    assert flags == [False] * (len(alone) - 1) + [True, True]
    threads = [{name for on, name in model.launched if on is flag} for flag in (False, True)]
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
    entries = counters.entries()
    assert (entries["batches"], entries["images"], entries["mean_batch"]) == (2, 3, 1.5)


def test_a_batch_on_a_gpu_counts_for_as_long_as_the_network_ran_there_and_not_until_somebody_asks() -> None:
    counters, benchmark = Counters(), CudnnBenchmark("on")
    runner: Any = GpuRunner(counters, benchmark)
    model = Model(seconds=0.125)
    started = [runner.start(key(model), [n]) for n in range(2)]
    time.sleep(0.05)
    for batch in started:
        runner.finish(batch)
    assert counters.entries()["device_s"] == benchmark.counters()["cudnn_search_s"] == 0.25


@pytest.mark.parametrize(
    ("raised", "means"),
    [
        (lambda: torch.OutOfMemoryError("CUDA out of memory"), DeviceMemoryExhausted),
        (lambda: MemoryError(), DeviceMemoryExhausted),
        (lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory"), DeviceMemoryExhausted),
        (lambda: RuntimeError("GET was unable to find an engine to execute this computation"), DeviceMemoryExhausted),
        (lambda: RuntimeError("CUDA error: out of memory"), DeviceMemoryExhausted),
        (lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `c"), DeviceMemoryExhausted),
        (lambda: RuntimeError("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), DeviceMemoryExhausted),
        (lambda: RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceLost),
        (lambda: RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceLost),
        (lambda: RuntimeError("sizes do not match"), RuntimeError),
        (lambda: ValueError("thirteen"), ValueError),
    ],
)
@pytest.mark.parametrize("make", [lambda c: GpuRunner(c, CudnnBenchmark("off")), lambda c: CpuRunner(c, lambda: 1)])
def test_a_device_that_is_too_small_or_lost_is_distinguished_from_an_input_that_cannot_be_run(
    make: Callable[[Counters], Any], raised: Callable[[], Exception], means: type[Exception]
) -> None:
    with pytest.raises(means) as error:
        make(Counters()).start(key(Model(raised)), [1])
    assert type(error.value) is means


def test_a_lost_device_that_looks_like_one_without_memory_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def empty_cache() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "empty_cache", empty_cache)
    model = Model(lambda: RuntimeError("GET was unable to find an engine to execute this computation"))
    runner: Any = GpuRunner(Counters(), CudnnBenchmark("off"))
    with pytest.raises(DeviceLost, match="illegal memory access"):
        runner.start(key(model), [1])


def test_when_torch_gives_memory_back_the_failed_batch_holds_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[Any] = []
    held: list[bool] = []

    class Large(Model):
        def start(self, batch: list[Any], shape: tuple[int, int]) -> Any:
            fields = np.zeros(9)
            computed.append(weakref.ref(fields))
            raise torch.OutOfMemoryError(f"CUDA out of memory beside {len(fields)}")

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: held.append(computed[0]() is not None))
    runner: Any = GpuRunner(Counters(), CudnnBenchmark("off"))
    with pytest.raises(DeviceMemoryExhausted):
        runner.start(key(Large()), [1])
    assert held == [False]


def test_short_memory_is_no_fault_of_what_was_to_be_run() -> None:
    assert is_device_error(RuntimeError("FIND was unable to find an engine to execute this computation"))
    assert is_device_error(RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")) and is_device_error(MemoryError())
    assert not is_device_error(RuntimeError("sizes do not match")) and not is_device_error(ValueError("CUDA error"))


def test_a_gpu_that_can_not_be_used_ends_its_process_before_any_job_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    def zeros(*_: Any, device: str) -> None:
        raise RuntimeError(f"CUDA initialization: the driver is too old for {device}")

    def make(*_: Any) -> None:
        raise AssertionError("it was taken to be usable")

    monkeypatch.setattr(torch, "zeros", zeros)
    monkeypatch.setattr("maskq.workers.device.process.Device", make)
    with pytest.raises(RuntimeError, match="too old for cuda:0"):
        main("cuda:1=off")


@pytest.fixture
def batching(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device that forms batches as a GPU does, but runs on the CPU."""
    monkeypatch.setattr(
        "maskq.workers.device.device.ModelCache",
        lambda registry, _, *others: ModelCache(registry, "cpu", *others),
    )
    return Device(DeviceSpec("cuda:0", "on", batch=4), Settings(batch_wait_ms=50))


def test_a_gpu_has_as_many_jobs_in_hand_as_fill_four_batches(batching: Device) -> None:
    assert batching.threads == 16


def test_what_an_image_is_answered_does_not_depend_on_the_batch_that_it_ran_in(
    batching: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, tuple[int, int]]] = []

    def start(segmenter: Segmenter, batch: list[Any], shape: tuple[int, int], original: Any = Segmenter.start) -> Any:
        seen.append((len(batch), shape))
        return original(segmenter, batch, shape)

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


def test_on_a_cpu_an_image_that_is_alone_gets_all_cores_and_others_run_where_they_were_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, int]] = []

    def start(*arguments: Any, original: Any = Segmenter.start) -> Any:
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        return original(*arguments)

    monkeypatch.setattr(Segmenter, "start", start)
    device, image = Device(DeviceSpec("cpu"), Settings(torch_threads=2)), np.zeros((64, 64, 1), np.uint8)
    with ThreadPoolExecutor(1, "decoder") as decoder:
        for in_hand in (1, 2):
            monkeypatch.setattr(device.counters, "_in_hand", in_hand)
            decoder.submit(_fields, device, image).result()
    assert seen == [("device-owner", 2), ("decoder_0", 1)]


def _fields(device: Device, image: Any) -> bytes:
    return device.fields("nuclei", image)[1]
