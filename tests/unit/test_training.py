"""A training that is killed and resumed gives the same weights as an undisturbed one, and they run as a model."""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

from maskq.segmentation.dataset import pairs
from maskq.segmentation.errors import InvalidModel, StaleCheckpoint
from maskq.segmentation.models.spec import ModelSpec, write_model
from maskq.segmentation.network.preprocessing import pad, to_input
from maskq.segmentation.segmenter import Segmenter
from maskq.segmentation.training.augmentation import CropSampler
from maskq.segmentation.training.crop_loader import PREFETCH
from maskq.segmentation.training.origin import Member, Origin
from maskq.segmentation.training.trainer import Progress, Schedule, Trainer

SPEC = ModelSpec(name="tiny", unit=32.0)
SCHEDULE = Schedule(steps=5, batch=2, crop=32)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CropSampler:
    """Two small images of bright disks."""
    folder = tmp_path_factory.mktemp("data")
    for part in ("images", "labels"):
        (folder / part).mkdir()
    y, x = np.ogrid[:48, :56]
    for name, shift in (("a", 0), ("b", 5)):
        labels = np.zeros((48, 56), np.uint16)
        for label, (row, column) in enumerate([(12, 12), (34, 14), (22, 40)], 1):
            labels[(y - row) ** 2 + (x - column - shift) ** 2 < 50] = label
        noise = np.random.default_rng(shift).normal(20, 3, labels.shape)
        np.save(folder / "images" / f"{name}.npy", noise + 100 * (labels > 0))
        np.save(folder / "labels" / f"{name}.npy", labels)
    return CropSampler(pairs(folder), SPEC, SCHEDULE.crop)


@pytest.fixture(scope="module")
def undisturbed(data: CropSampler) -> tuple[Trainer, list[Progress]]:
    """A training without interruption, and its reports."""
    trainer = Trainer(SPEC, SCHEDULE)
    return trainer, list(trainer.run(data))


def stopped_at(step: int, data: CropSampler, path: Path) -> list[Progress]:
    """Train up to a step and write a checkpoint; return the reports."""
    trainer = Trainer(SPEC, SCHEDULE)
    reports = list(islice(trainer.run(data), step))
    trainer.checkpoint(path)
    return reports


def without_time(reports: list[Progress]) -> list[Progress]:
    return [dataclasses.replace(report, seconds=0) for report in reports]


def test_every_step_is_reported_with_its_terms(undisturbed: tuple[Trainer, list[Progress]]) -> None:
    trainer, reports = undisturbed
    assert [report.step for report in reports] == [1, 2, 3, 4, 5] and trainer.step == 5
    for report in reports:
        assert report.loss == pytest.approx(report.instance + 10 * report.variance + report.seed, rel=1e-5)
        assert 0 < report.instance < 3 and report.seconds > 0


@pytest.mark.parametrize("step", [1, 3])
def test_a_training_killed_and_resumed_equals_one_that_was_not(
    undisturbed: tuple[Trainer, list[Progress]], data: CropSampler, tmp_path: Path, step: int
) -> None:
    first = stopped_at(step, data, tmp_path / "checkpoint.pt")
    torch.rand(100)  # a new process has another random state
    resumed = Trainer(SPEC, SCHEDULE)
    resumed.resume(tmp_path / "checkpoint.pt")
    rest = list(resumed.run(data))
    assert without_time(first + rest) == without_time(undisturbed[1])
    assert resumed.weights() == undisturbed[0].weights()


def test_loader_processes_do_not_change_the_training(
    undisturbed: tuple[Trainer, list[Progress]], data: CropSampler
) -> None:
    trainer = Trainer(SPEC, SCHEDULE, processes=2)
    assert without_time(list(trainer.run(data))) == without_time(undisturbed[1])
    assert trainer.weights() == undisturbed[0].weights()


def test_a_training_of_more_steps_than_are_prefetched_can_be_resumed(data: CropSampler, tmp_path: Path) -> None:
    schedule = dataclasses.replace(SCHEDULE, steps=PREFETCH + 6, batch=1)
    expected = list(Trainer(SPEC, schedule).run(data))
    stopped = Trainer(SPEC, schedule)
    list(islice(stopped.run(data), PREFETCH + 2))
    stopped.checkpoint(tmp_path / "checkpoint.pt")
    resumed = Trainer(SPEC, schedule)
    resumed.resume(tmp_path / "checkpoint.pt")
    assert without_time(list(resumed.run(data))) == without_time(expected[PREFETCH + 2 :])


def test_a_finished_training_has_no_steps_left(
    undisturbed: tuple[Trainer, list[Progress]], data: CropSampler, tmp_path: Path
) -> None:
    undisturbed[0].checkpoint(tmp_path / "checkpoint.pt")
    resumed = Trainer(SPEC, SCHEDULE)
    resumed.resume(tmp_path / "checkpoint.pt")
    assert list(resumed.run(data)) == [] and resumed.weights() == undisturbed[0].weights()


def test_the_seed_determines_the_training(data: CropSampler) -> None:
    losses = [
        [report.loss for report in Trainer(SPEC, dataclasses.replace(SCHEDULE, steps=2, seed=seed)).run(data)]
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("other", [{"steps": 6}, {"rate": 2e-3}, {"seed": 1}, {"batch": 3}], ids=str)
def test_a_checkpoint_of_another_schedule_is_refused(
    data: CropSampler, tmp_path: Path, other: dict[str, float]
) -> None:
    stopped_at(0, data, tmp_path / "checkpoint.pt")
    trainer = Trainer(SPEC, dataclasses.replace(SCHEDULE, **other))  # type: ignore[arg-type]
    with pytest.raises(StaleCheckpoint, match=r"checkpoint\.pt: was made by another schedule, .*\"steps\": 5"):
        trainer.resume(tmp_path / "checkpoint.pt")
    assert trainer.step == 0


@pytest.mark.parametrize("other", [{"unit": 64.0}, {"channels": "rgb"}, {"bandwidths": 1}], ids=str)
def test_a_checkpoint_of_another_model_is_refused(data: CropSampler, tmp_path: Path, other: dict[str, object]) -> None:
    stopped_at(0, data, tmp_path / "checkpoint.pt")
    with pytest.raises(StaleCheckpoint, match=r"was made for another model, .*\"unit\": 32"):
        Trainer(SPEC.model_copy(update=other), SCHEDULE).resume(tmp_path / "checkpoint.pt")


def test_a_checkpoint_is_unchanged_if_writing_the_next_fails(
    data: CropSampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(0, data, tmp_path / "checkpoint.pt")
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def disk_full(_: object, part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="no space"):
        Trainer(SPEC, SCHEDULE).checkpoint(tmp_path / "checkpoint.pt")
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_the_average_follows_the_network(undisturbed: tuple[Trainer, list[Progress]]) -> None:
    start = Trainer(SPEC, SCHEDULE).average.state_dict()
    end = undisturbed[0].average.state_dict()
    moved = [name for name in start if not torch.equal(start[name], end[name])]
    assert "encoder.0.conv.weight" in moved and "encoder.0.norm.running_mean" in moved
    assert all(torch.isfinite(tensor).all() for tensor in end.values())


def test_weights_without_a_gradient_do_not_decay_to_zero() -> None:
    trainer = Trainer(SPEC, SCHEDULE)
    before = {name: tensor.clone() for name, tensor in trainer._network.named_parameters()}
    for parameter in trainer._network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(100):
        trainer._adam.step()
    for name, parameter in trainer._network.named_parameters():
        torch.testing.assert_close(parameter, before[name], rtol=2e-3, atol=0)


def test_the_loss_falls_during_training(data: CropSampler) -> None:
    schedule = dataclasses.replace(SCHEDULE, steps=30)
    losses = [report.loss for report in Trainer(SPEC, schedule).run(data)]
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])


def test_a_training_starts_from_the_weights_of_another_model(undisturbed: tuple[Trainer, list[Progress]]) -> None:
    second = Trainer(SPEC, SCHEDULE)
    second.start_from(undisturbed[0].average)
    assert second.weights() == undisturbed[0].weights()
    with pytest.raises(InvalidModel, match="another network's"):
        Trainer(SPEC.model_copy(update={"bandwidths": 1}), SCHEDULE).start_from(undisturbed[0].average)


def _of(content: bytes = b"0", split: str = "train", channel: str = "", image: bytes = b"image") -> Member:
    return Member(split, image.hex(), content.hex(), channel)


ORIGIN = Origin({"a": _of(), "b": _of(), "c": _of(split="val")}, "0123")


@pytest.mark.parametrize(
    ("members", "changes"),
    [
        ({"a": _of(b"1"), "b": _of(b"2")}, "labels have changed: a, b"),
        ({"b": _of(image=b"other")}, "images have changed: b"),
        ({"b": _of(split="val"), "c": _of()}, "images have another split: b, c"),
        ({"a": _of(channel="2")}, "images have another channel: a"),
        ({"d": _of()}, "images are new: d"),
        ({"a": None}, "images are gone: a"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_a_checkpoint_of_other_data_is_refused_and_says_what_changed(
    tmp_path: Path, members: dict[str, Member | None], changes: str
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    Trainer(SPEC, SCHEDULE, origin=ORIGIN).checkpoint(checkpoint)
    Trainer(SPEC, SCHEDULE, origin=ORIGIN).resume(checkpoint)
    later = {name: member for name, member in ({**ORIGIN.members, **members}).items() if member}
    with pytest.raises(StaleCheckpoint, match=f"since it was made, {changes}; remove it to start over"):
        Trainer(SPEC, SCHEDULE, origin=Origin(later, ORIGIN.weights)).resume(checkpoint)
    with pytest.raises(StaleCheckpoint, match="since it was made, the training starts from other weights;"):
        Trainer(SPEC, SCHEDULE, origin=Origin(ORIGIN.members)).resume(checkpoint)


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    torch.save({"step": 1, "schedule": "{}"}, tmp_path / "checkpoint.pt")
    with pytest.raises(StaleCheckpoint, match="another version of maskq"):
        Trainer(SPEC, SCHEDULE).resume(tmp_path / "checkpoint.pt")


def test_the_trained_weights_run_as_a_model(undisturbed: tuple[Trainer, list[Progress]], tmp_path: Path) -> None:
    trainer = undisturbed[0]
    assert {tensor.dtype for tensor in load(trainer.weights()).values()} == {torch.float16}
    write_model(tmp_path, SPEC, trainer.weights())
    image = np.random.default_rng(0).integers(0, 255, (24, 40, 1), np.uint8)
    segmenter, prepared = Segmenter.load(tmp_path), pad(to_input(image, SPEC.channels, SPEC.normalisation))
    raw = segmenter.forward(prepared[None])
    with torch.no_grad():
        expected = trainer.average(torch.from_numpy(prepared)[None])
    np.testing.assert_allclose(raw, expected, atol=2e-2)
