"""A training that was killed ends as if it had not been, and what it gives runs as a model."""

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
from maskq.segmentation.models import spec as model
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.preprocessing import pad, to_input
from maskq.segmentation.segmenter import Segmenter
from maskq.segmentation.training.augmentation import CropSampler
from maskq.segmentation.training.crop_loader import AHEAD
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
def straight(data: CropSampler) -> tuple[Trainer, list[Progress]]:
    """A training to the end in one go, and its reports."""
    trainer = Trainer(SPEC, SCHEDULE)
    return trainer, list(trainer.run(data))


def stopped_at(step: int, data: CropSampler, path: Path) -> list[Progress]:
    """Train up to a step, write the checkpoint, and forget the rest."""
    trainer = Trainer(SPEC, SCHEDULE)
    reports = list(islice(trainer.run(data), step))
    trainer.checkpoint(path)
    return reports


def without_time(reports: list[Progress]) -> list[Progress]:
    return [dataclasses.replace(report, seconds=0) for report in reports]


def test_every_step_is_reported_with_its_terms(straight: tuple[Trainer, list[Progress]]) -> None:
    trainer, reports = straight
    assert [report.step for report in reports] == [1, 2, 3, 4, 5] and trainer.step == 5
    for report in reports:
        assert report.loss == pytest.approx(report.instance + 10 * report.variance + report.seed, rel=1e-5)
        assert 0 < report.instance < 3 and report.seconds > 0


@pytest.mark.parametrize("step", [1, 3])
def test_a_training_killed_and_resumed_equals_one_that_was_not(
    straight: tuple[Trainer, list[Progress]], data: CropSampler, tmp_path: Path, step: int
) -> None:
    first = stopped_at(step, data, tmp_path / "checkpoint.pt")
    torch.rand(100)  # the next process's random numbers stand elsewhere
    resumed = Trainer(SPEC, SCHEDULE)
    resumed.resume(tmp_path / "checkpoint.pt")
    rest = list(resumed.run(data))
    assert without_time(first + rest) == without_time(straight[1])
    assert resumed.weights() == straight[0].weights()


def test_it_is_the_same_training_whoever_cuts_its_crops(
    straight: tuple[Trainer, list[Progress]], data: CropSampler
) -> None:
    trainer = Trainer(SPEC, SCHEDULE, processes=2)
    assert without_time(list(trainer.run(data))) == without_time(straight[1])
    assert trainer.weights() == straight[0].weights()


def test_a_training_longer_than_its_crops_are_cut_ahead_can_be_resumed(data: CropSampler, tmp_path: Path) -> None:
    schedule = dataclasses.replace(SCHEDULE, steps=AHEAD + 6, batch=1)
    wanted = list(Trainer(SPEC, schedule).run(data))
    stopped = Trainer(SPEC, schedule)
    list(islice(stopped.run(data), AHEAD + 2))
    stopped.checkpoint(tmp_path / "checkpoint.pt")
    resumed = Trainer(SPEC, schedule)
    resumed.resume(tmp_path / "checkpoint.pt")
    assert without_time(list(resumed.run(data))) == without_time(wanted[AHEAD + 2 :])


def test_a_training_that_had_ended_has_nothing_left_to_do(
    straight: tuple[Trainer, list[Progress]], data: CropSampler, tmp_path: Path
) -> None:
    straight[0].checkpoint(tmp_path / "checkpoint.pt")
    resumed = Trainer(SPEC, SCHEDULE)
    resumed.resume(tmp_path / "checkpoint.pt")
    assert list(resumed.run(data)) == [] and resumed.weights() == straight[0].weights()


def test_the_seed_decides_where_a_training_starts_and_goes(data: CropSampler) -> None:
    losses = [
        [report.loss for report in Trainer(SPEC, dataclasses.replace(SCHEDULE, steps=2, seed=seed)).run(data)]
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("other", [{"steps": 6}, {"rate": 2e-3}, {"seed": 1}, {"batch": 3}], ids=str)
def test_a_checkpoint_of_another_schedule_is_refused_and_named(
    data: CropSampler, tmp_path: Path, other: dict[str, float]
) -> None:
    stopped_at(0, data, tmp_path / "checkpoint.pt")
    trainer = Trainer(SPEC, dataclasses.replace(SCHEDULE, **other))  # type: ignore[arg-type]
    with pytest.raises(StaleCheckpoint, match=r"checkpoint\.pt: was made by another schedule, .*\"steps\": 5"):
        trainer.resume(tmp_path / "checkpoint.pt")
    assert trainer.step == 0


@pytest.mark.parametrize("other", [{"unit": 64.0}, {"channels": "rgb"}, {"bandwidths": 1}], ids=str)
def test_a_checkpoint_of_another_model_is_refused_and_named(
    data: CropSampler, tmp_path: Path, other: dict[str, object]
) -> None:
    stopped_at(0, data, tmp_path / "checkpoint.pt")
    with pytest.raises(StaleCheckpoint, match=r"made for another model or other data, .*\"unit\": 32"):
        Trainer(SPEC.model_copy(update=other), SCHEDULE).resume(tmp_path / "checkpoint.pt")


def test_a_checkpoint_stays_what_it_was_when_writing_the_next_fails(
    data: CropSampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(0, data, tmp_path / "checkpoint.pt")
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(_: object, part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        Trainer(SPEC, SCHEDULE).checkpoint(tmp_path / "checkpoint.pt")
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_the_average_follows_the_network_but_is_not_it(straight: tuple[Trainer, list[Progress]]) -> None:
    start = Trainer(SPEC, SCHEDULE).average.state_dict()
    ended = straight[0].average.state_dict()
    moved = [name for name in start if not torch.equal(start[name], ended[name])]
    assert "encoder.0.conv.weight" in moved and "encoder.0.norm.running_mean" in moved
    assert all(torch.isfinite(tensor).all() for tensor in ended.values())


def test_what_has_no_gradient_is_not_decayed_away() -> None:
    trainer = Trainer(SPEC, SCHEDULE)
    before = {name: tensor.clone() for name, tensor in trainer._network.named_parameters()}
    for parameter in trainer._network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(100):
        trainer._adam.step()
    for name, parameter in trainer._network.named_parameters():
        torch.testing.assert_close(parameter, before[name], rtol=2e-3, atol=0)


def test_a_training_learns(data: CropSampler) -> None:
    schedule = dataclasses.replace(SCHEDULE, steps=30)
    losses = [report.loss for report in Trainer(SPEC, schedule).run(data)]
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])


def test_a_training_that_starts_from_another_model_starts_there(straight: tuple[Trainer, list[Progress]]) -> None:
    second = Trainer(SPEC, SCHEDULE)
    second.start_from(straight[0].average)
    assert second.weights() == straight[0].weights()
    with pytest.raises(InvalidModel, match="another network's"):
        Trainer(SPEC.model_copy(update={"bandwidths": 1}), SCHEDULE).start_from(straight[0].average)


def test_a_checkpoint_of_other_data_is_refused(data: CropSampler, tmp_path: Path) -> None:
    stopped_at(0, data, tmp_path / "checkpoint.pt")
    with pytest.raises(StaleCheckpoint, match="other data"):
        Trainer(SPEC, SCHEDULE, origin="elsewhere").resume(tmp_path / "checkpoint.pt")


def test_what_a_training_gives_runs_as_a_model(straight: tuple[Trainer, list[Progress]], tmp_path: Path) -> None:
    trainer = straight[0]
    assert {tensor.dtype for tensor in load(trainer.weights()).values()} == {torch.float16}
    model.write(tmp_path, SPEC, trainer.weights())
    image = np.random.default_rng(0).integers(0, 255, (24, 40, 1), np.uint8)
    segmenter, prepared = Segmenter.load(tmp_path), pad(to_input(image, SPEC.channels, SPEC.normalisation))
    raw = segmenter.forward(prepared[None])
    with torch.no_grad():
        wanted = trainer.average(torch.from_numpy(prepared)[None])
    np.testing.assert_allclose(raw, wanted, atol=2e-2)
