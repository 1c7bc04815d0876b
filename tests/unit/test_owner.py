"""The thread that owns a device, on a device that the test holds in its hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from segmentation.fields import Floats
from tests.conftest import until
from workers.owner import DeviceLost, DeviceOwner


class Device:
    """Adds one to what it is given; stands still while `free` is not set, and notes each batch's model and shape."""

    def __init__(self) -> None:
        self.free, self.busy = threading.Event(), threading.Event()
        self.batches: list[tuple[str, tuple[int, ...]]] = []
        self.deaths = 0
        self.free.set()

    def __call__(self, model: str, batch: Floats) -> Floats:
        self.batches.append((model, batch.shape))
        self.busy.set()
        assert self.free.wait(20)
        if (batch == 13).any():
            raise ValueError("thirteen")
        if (batch == 66).any():
            raise SystemExit("the driver is gone")
        if (batch == 77).any():
            raise DeviceLost("CUDA error: an illegal memory access was encountered")
        return batch + 1

    def died(self) -> None:
        self.deaths += 1


@pytest.fixture
def device() -> Device:
    return Device()


def call(what: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Call it in a thread that holds nobody up, should it never return."""
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(what(*arguments))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer


def own(device: Device, batch_size: int = 4, batch_wait_s: float = 0, batch_pixels: int = 10_000) -> DeviceOwner:
    return DeviceOwner(
        device,
        batch_size=batch_size,
        batch_wait_s=batch_wait_s,
        batch_pixels=batch_pixels,
        on_death=device.died,
        parting_s=0.1,
    )


def image(value: float, side: int = 8) -> Floats:
    return np.full((1, side, side), value, np.float32)


def queue(owner: DeviceOwner, images: list[Floats], model: str = "m") -> list[Future[Floats]]:
    """Hand the images in, in this order, while the device is held."""
    answers = []
    for given in images:
        before = _waiting(owner)
        answers.append(call(owner.run, model, given))
        until(lambda before=before: _waiting(owner) == before + 1)
    return answers


def _waiting(owner: DeviceOwner) -> int:
    return sum(len(waiting.items) for waiting in list(owner._waiting.values()))


def hold(owner: DeviceOwner, device: Device) -> Future[Floats]:
    """Keep the device at work on an image of its own until `device.free` is set."""
    device.free.clear()
    held = call(owner.run, "m", image(0, side=24))
    assert device.busy.wait(20)
    return held


def test_each_caller_gets_the_answer_to_its_own_image(device: Device) -> None:
    owner = own(device)
    values = [float(n) for n in range(100) if n not in (13, 66, 77)]
    answers = [call(owner.run, "m", image(value)) for value in values]
    assert [float(answer.result(20)[0, 0, 0]) for answer in answers] == [value + 1 for value in values]


def test_images_of_one_shape_and_model_run_together_up_to_the_batch_size(device: Device) -> None:
    owner = own(device)
    held = hold(owner, device)
    answers = queue(owner, [image(n) for n in range(6)])
    answers += queue(owner, [image(6, side=16)])
    answers += queue(owner, [image(7)], model="other")
    device.free.set()
    assert [answer.result(20)[0, 0, 0] for answer in answers] == [n + 1 for n in range(8)]
    held.result(20)
    assert sorted(device.batches[1:]) == [
        ("m", (1, 1, 16, 16)),
        ("m", (2, 1, 8, 8)),
        ("m", (4, 1, 8, 8)),
        ("other", (1, 1, 8, 8)),
    ]


def test_a_batch_has_no_more_pixels_than_may_be_or_one_input(device: Device) -> None:
    owner = own(device, batch_pixels=2 * 8 * 8 + 1)
    held = hold(owner, device)
    answers = queue(owner, [image(n) for n in range(5)]) + queue(owner, [image(5, side=16), image(6, side=16)])
    device.free.set()
    assert [answer.result(20)[0, 0, 0] for answer in answers] == [n + 1 for n in range(7)]
    held.result(20)
    assert sorted(shape[-1] ** 2 * shape[0] for _, shape in device.batches[1:]) == [64, 128, 128, 256, 256]


def test_a_batch_waits_for_more_and_goes_as_soon_as_it_is_full(device: Device) -> None:
    owner = own(device, batch_size=3, batch_wait_s=600)
    answers = [call(owner.run, "m", image(n)) for n in range(3)]
    assert [answer.result(20)[0, 0, 0] for answer in answers] == [1, 2, 3]
    assert device.batches == [("m", (3, 1, 8, 8))]


def test_a_batch_that_is_not_full_goes_when_it_has_waited(device: Device) -> None:
    assert own(device, batch_wait_s=0.01).run("m", image(1))[0, 0, 0] == 2


def test_no_shape_starves_another(device: Device) -> None:
    owner = own(device, batch_size=2)
    hold(owner, device)
    queue(owner, [image(n) for n in range(8)] + [image(0, side=16)])
    device.free.set()
    until(lambda: len(device.batches) == 6)
    assert [shape[-1] for _, shape in device.batches[1:]] == [8, 16, 8, 8, 8]


def test_one_bad_image_fails_alone(device: Device) -> None:
    owner = own(device)
    hold(owner, device)
    one, bad, two = queue(owner, [image(1), image(13), image(2)])
    device.free.set()
    assert (one.result(20)[0, 0, 0], two.result(20)[0, 0, 0]) == (2, 3)
    with pytest.raises(ValueError, match="thirteen"):
        bad.result(20)
    assert owner.run("m", image(3))[0, 0, 0] == 4
    assert device.deaths == 0


@pytest.mark.parametrize("poison", [66, 77])
def test_when_the_device_is_lost_all_who_wait_are_told_and_all_who_come(device: Device, poison: float) -> None:
    owner = own(device, batch_size=2)
    hold(owner, device)
    answers = queue(owner, [image(1), image(poison), image(2), image(3, side=16)])
    device.free.set()
    for answer in answers:
        with pytest.raises(DeviceLost, match="driver is gone|illegal memory access"):
            answer.result(20)
    with pytest.raises(DeviceLost):
        owner.run("m", image(4))
    assert device.deaths == 1


def test_who_waits_is_told_of_the_loss_only_after_the_process_was(device: Device) -> None:
    answers: list[Future[Floats]] = []
    told: list[bool] = []
    owner = DeviceOwner(
        device, batch_size=1, batch_wait_s=0, on_death=lambda: told.append(answers[0].done()), parting_s=0.1
    )
    device.free.clear()
    answers.append(call(owner.run, "m", image(66)))
    device.free.set()
    with pytest.raises(DeviceLost):
        answers[0].result(20)
    assert told == [False]


def test_closing_finishes_what_waits_and_takes_no_more(device: Device) -> None:
    owner = own(device, batch_wait_s=600)
    answers = queue(owner, [image(n) for n in range(3)])
    call(owner.close).result(20)
    assert device.batches == [("m", (3, 1, 8, 8))]
    assert [answer.result(20)[0, 0, 0] for answer in answers] == [1, 2, 3]
    with pytest.raises(DeviceLost):
        owner.run("m", image(4))
