"""The executors, on a device that the test controls."""

from __future__ import annotations

import gc
import re
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from maskq.tasks.runner import DeviceUnavailable
from maskq.workers.device.batch_runner import BatchRunner, DeviceLost, DeviceMemoryExhausted
from maskq.workers.device.batching import BatchKey, BatchLimits
from maskq.workers.device.cpu_executor import InlineExecutor
from maskq.workers.device.executor import BatchExecutor
from tests.conftest import until

SHAPE = (8, 8)


class Device(BatchRunner[str, float, float]):
    """Adds one to each input; blocks while `free` is not set, and records the batches that it starts and finishes."""

    def __init__(self, depth: int = 1, memory: int = 100) -> None:
        self.depth, self.memory = depth, memory
        self.free, self.busy = threading.Event(), threading.Event()
        self.free.set()
        self.started: list[tuple[str, tuple[int, int], list[float]]] = []
        self.finished: list[list[float]] = []
        self.max_at_once = 0
        self.deaths = self.halvings = 0

    def exclusive(self, key: BatchKey[str], count: int) -> bool:
        return key.shape == (99, 99)

    def start(self, key: BatchKey[str], batch: list[float]) -> list[float]:
        self.started.append((key.model, key.shape, batch))
        running = len(self.started) - len(self.finished)
        self.max_at_once = max(self.max_at_once, running)
        if key.shape == (99, 99):
            assert running == 1
        self.busy.set()
        assert self.free.wait(20)
        if len(batch) > self.memory:
            self.finished.append([])
            raise DeviceMemoryExhausted("out of memory")
        if 66 in batch:
            raise SystemExit("the driver is gone")
        if 77 in batch:
            raise DeviceLost("CUDA error: an illegal memory access was encountered")
        return batch

    def finish(self, started: list[float]) -> list[float]:
        self.finished.append(started)
        if 13 in started:
            raise ValueError("thirteen")
        return [value + 1 for value in started]

    def died(self) -> None:
        self.deaths += 1

    def halved(self) -> None:
        self.halvings += 1


@pytest.fixture
def device() -> Device:
    return Device()


def call(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Call a function in a daemon thread, which does not block the tests if it never returns."""
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(function(*arguments))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer


def new_executor(
    device: Device, limits: BatchLimits = BatchLimits(count=4), in_hand: int = 0
) -> BatchExecutor[str, float, float]:
    return BatchExecutor(
        device, limits, in_hand=lambda: in_hand, on_death=device.died, on_halving=device.halved, error_delay_s=0.1
    )


def inline_executor(device: Any) -> Any:
    return InlineExecutor(device, on_death=device.died, error_delay_s=0.1)


def key(shape: tuple[int, int] = SHAPE, model: str = "m") -> BatchKey[str]:
    return BatchKey(model, model, shape)


def has_waiting(executor: Any, count: int) -> bool:
    return len(executor._waiting) == count


def queue(executor: Any, values: list[float], batch_key: BatchKey[str] = key()) -> list[Future[float]]:
    """Queue the values in this order while the device is blocked."""
    answers = []
    for value in values:
        before = len(executor._waiting)
        answers.append(call(executor.run, batch_key, value))
        until(partial(has_waiting, executor, before + 1))
    return answers


def hold(executor: Any, device: Device) -> Future[float]:
    """Block the device with one input until `device.free` is set."""
    device.free.clear()
    held = call(executor.run, key((24, 24)), 0.0)
    assert device.busy.wait(20)
    return held


def started(device: Device) -> list[tuple[str, tuple[int, int], list[float]]]:
    """The batches that started after the blocking one."""
    return device.started[1:]


@pytest.mark.parametrize("depth", [1, 2])
def test_each_caller_gets_the_answer_to_its_own_input(depth: int) -> None:
    executor = new_executor(Device(depth))
    values = [float(n) for n in range(100) if n not in (13, 66, 77)]
    answers = [call(executor.run, key((8, 8 * (n % 3 + 1))), value) for n, value in enumerate(values)]
    assert [answer.result(20) for answer in answers] == [value + 1 for value in values]


def test_inputs_of_one_shape_and_model_run_together_up_to_the_batch_size(device: Device) -> None:
    executor = new_executor(device)
    held = hold(executor, device)
    answers = queue(executor, [0, 1, 2, 3, 4, 5])
    answers += queue(executor, [6], key((16, 16)))
    answers += queue(executor, [7], key(model="other"))
    device.free.set()
    assert [answer.result(20) for answer in answers] == [n + 1 for n in range(8)]
    held.result(20)
    assert started(device) == [
        ("m", SHAPE, [0, 1, 2, 3]),
        ("m", SHAPE, [4, 5]),
        ("m", (16, 16), [6]),
        ("other", SHAPE, [7]),
    ]


def test_a_batch_waits_for_more_while_more_is_on_its_way_and_goes_as_soon_as_it_is_full(device: Device) -> None:
    executor = new_executor(device, BatchLimits(count=16, wait_s=600), in_hand=99)
    held = hold(executor, device)
    answers = queue(executor, [float(n) for n in range(20, 35)])  # they arrive fast, so the device waits for one more
    device.free.set()
    held.result(20)
    assert not any(answer.done() for answer in answers) and started(device) == []
    answers.append(call(executor.run, key(), 35.0))
    assert [answer.result(20) for answer in answers] == [float(n) for n in range(21, 37)]
    assert [len(batch) for _, _, batch in started(device)] == [16]


def test_what_comes_alone_does_not_wait_for_what_may_never_come(device: Device) -> None:
    executor = new_executor(device, BatchLimits(count=9, wait_s=600), in_hand=99)
    assert call(executor.run, key(), 1).result(20) == 2


def test_the_next_batch_is_begun_before_the_last_one_is_finished() -> None:
    device = Device(depth=2)
    executor = new_executor(device)
    hold(executor, device)
    answers = queue(executor, [float(n) for n in range(20, 40)])
    device.free.set()
    assert [answer.result(20) for answer in answers] == [float(n) for n in range(21, 41)]
    assert device.max_at_once == 2
    assert device.finished == [batch for _, _, batch in device.started]


def test_a_batch_that_has_to_have_the_device_to_itself_has_it() -> None:
    device = Device(depth=2)
    executor = new_executor(device, BatchLimits(count=1))
    hold(executor, device)
    answers = queue(executor, [1, 2]) + queue(executor, [3], key((99, 99))) + queue(executor, [4, 5])
    device.free.set()
    assert [answer.result(20) for answer in answers] == [2, 3, 4, 5, 6]  # `Device.start` asserts it


@pytest.mark.parametrize("depth", [1, 2])
def test_one_bad_input_fails_alone(depth: int) -> None:
    device = Device(depth)
    executor = new_executor(device)
    hold(executor, device)
    one, bad, two = queue(executor, [1, 13, 2])
    others = queue(executor, [20, 21, 22, 23, 24])
    device.free.set()
    assert (one.result(20), two.result(20)) == (2, 3)
    assert [answer.result(20) for answer in others] == [21, 22, 23, 24, 25]
    with pytest.raises(ValueError, match="thirteen"):
        bad.result(20)
    assert executor.run(key(), 3) == 4
    assert (device.deaths, device.halvings) == (0, 0)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_batch_that_is_too_large_for_the_memory_runs_in_halves_and_that_is_remembered(depth: int) -> None:
    device = Device(depth, memory=3)
    executor = new_executor(device, BatchLimits(count=8, powers=True))
    hold(executor, device)
    answers = queue(executor, [float(n) for n in range(14, 30)])
    device.free.set()
    assert [answer.result(20) for answer in answers] == [float(n) for n in range(15, 31)]
    sizes = [len(batch) for _, _, batch in started(device)]
    assert sizes.count(8) <= depth and sizes[-1] == 2
    assert device.halvings >= 2 and device.deaths == 0
    before = len(device.started)
    assert [answer.result(20) for answer in [call(executor.run, key(), 1.0) for _ in range(8)]] == [2.0] * 8
    assert all(len(batch) <= 2 for _, _, batch in device.started[before:])


def test_an_input_that_does_not_fit_even_alone_fails_alone_with_its_type() -> None:
    device = Device(memory=0)
    executor = new_executor(device)
    with pytest.raises(DeviceMemoryExhausted):
        call(executor.run, key(), 1).result(20)
    device.memory = 100
    assert executor.run(key(), 1) == 2


class Hoarder(Device):
    """A device whose attempts all fail while their frames hold arrays; keeps weak references to these and the errors.

    `alive` has, per attempt, the number of arrays of earlier attempts that are not freed.
    """

    def __init__(self, depth: int, where: str) -> None:
        super().__init__(depth)
        self.where, self.taken, self.errors, self.alive = where, list[Any](), list[Any](), list[int]()
        self._launcher = ThreadPoolExecutor(1)

    def start(self, key: BatchKey[str], batch: list[float]) -> Any:
        if key.shape != SHAPE:  # the one that blocks the device
            return super().start(key, batch)
        return self._launcher.submit(self._attempt, batch).result() if self.where == "start" else batch

    def finish(self, started: Any) -> list[float]:
        return self._attempt(started) if started[0] else super().finish(started)

    def _attempt(self, batch: list[float]) -> Any:
        self.alive.append(sum(reference() is not None for reference in self.taken))
        try:
            self._layer(np.array(batch))
        except MemoryError as inner:
            error = DeviceMemoryExhausted("out of memory")
            self.errors.append(weakref.ref(error))
            raise error from inner

    def _layer(self, held: Any) -> None:
        self.taken.append(weakref.ref(held))
        try:
            raise KeyError("no plan for", len(held))
        except KeyError:
            self._next(held + 1)

    def _next(self, held: Any) -> None:
        self.taken.append(weakref.ref(held))
        raise MemoryError


def failed_at(executor: Any, value: float) -> str:
    """The function in which an input failed, according to its error; keeps no reference to the error."""
    try:
        executor.run(key(), value)
    except DeviceMemoryExhausted as error:
        return str(re.findall(r"in (\w+)\n.*\nMemoryError", "".join(traceback.format_exception(error)))[0])
    raise AssertionError("it did not fail")


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("where", ["start", "finish"])
def test_what_failed_holds_no_memory_neither_at_the_next_attempt_nor_once_its_caller_has_seen_it(
    depth: int, where: str
) -> None:
    device = Hoarder(depth, where)
    executor: Any = new_executor(device, BatchLimits(count=4))
    hold(executor, device)
    answers = [call(failed_at, executor, value) for value in (1.0, 2.0, 3.0, 4.0)]
    until(lambda: len(executor._waiting) == 4)
    device.free.set()
    assert [answer.result(20) for answer in answers] == ["_next"] * 4
    assert device.alive == [0] * 7  # batches of 4, 2, 1, 1, 2, 1, 1
    until(lambda: not any(reference() is not None for reference in device.taken + device.errors))
    assert (len(device.taken), len(device.errors)) == (14, 7)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("poison", [66, 77])
def test_when_the_device_is_lost_all_who_wait_are_told_and_all_who_come(depth: int, poison: float) -> None:
    device = Device(depth)
    executor = new_executor(device, BatchLimits(count=2))
    hold(executor, device)
    answers = queue(executor, [1, poison, 2]) + queue(executor, [3], key((16, 16)))
    device.free.set()
    for answer in answers:
        with pytest.raises(DeviceLost, match="driver is gone|illegal memory access"):
            answer.result(20)
    with pytest.raises(DeviceUnavailable):
        executor.run(key(), 4)
    assert device.deaths == 1
    assert "gone" in str(executor.health(limit_s=600))


def test_who_waits_is_told_of_the_loss_only_after_the_process_was(device: Device) -> None:
    answers: list[Future[float]] = []
    answered: list[bool] = []
    executor = BatchExecutor(
        device, BatchLimits(), in_hand=lambda: 0, on_death=lambda: answered.append(answers[0].done()), error_delay_s=0.1
    )
    device.free.clear()
    answers.append(call(executor.run, key(), 66))
    device.free.set()
    with pytest.raises(DeviceLost):
        answers[0].result(20)
    assert answered == [False]


def test_a_device_is_in_trouble_while_one_batch_is_on_it_for_too_long(device: Device) -> None:
    executor = new_executor(device)
    assert executor.health(limit_s=0) is None
    held = hold(executor, device)
    assert executor.health(limit_s=600) is None
    until(lambda: executor.health(limit_s=0.05) == "one batch has been on the device for over 0.05 s")
    device.free.set()
    held.result(20)
    until(lambda: executor.health(limit_s=0) is None)


def test_an_inline_executor_runs_the_inputs_of_several_threads_concurrently(device: Device) -> None:
    executor = inline_executor(device)
    assert executor.run(key(), 1) == 2
    with pytest.raises(ValueError, match="thirteen"):
        executor.run(key(), 13)
    assert executor.health(limit_s=0) is None
    device.free.clear()
    answers = [call(executor.run, key(), value) for value in (5, 6)]
    until(lambda: len(device.started) == 4)
    assert executor.health(limit_s=600) is None
    until(lambda: executor.health(limit_s=0.05) == "one batch has been on the device for over 0.05 s")
    device.free.set()
    assert [answer.result(20) for answer in answers] == [6, 7]
    assert executor.health(limit_s=0) is None and device.deaths == 0


@pytest.mark.parametrize("poison", [66, 77])
def test_a_device_lost_by_an_inline_executor_is_reported_and_refuses_more(device: Device, poison: float) -> None:
    executor = inline_executor(device)
    with pytest.raises(DeviceLost, match="driver is gone|illegal memory access"):
        executor.run(key(), poison)
    with pytest.raises(DeviceUnavailable):
        executor.run(key(), 1)
    assert device.deaths == 1
    assert executor.health(limit_s=600) == "the device is gone"
