"""Tuning: which parameters are tried, which win, and how they are stored."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from maskq.segmentation.arrays import Labels, Pixels
from maskq.segmentation.clustering.cluster import Clustering
from maskq.segmentation.dataset import pairs
from maskq.segmentation.errors import ImageTooLarge, InvalidModel, ModelNotWritable
from maskq.segmentation.evaluation.metrics import score, summarise
from maskq.segmentation.evaluation.parameters import check_writable, store
from maskq.segmentation.evaluation.tuning import (
    MIN_PIXELS,
    SEED_THRESHOLDS,
    FieldCache,
    SegmenterReader,
    Trial,
    choose,
    coarse_grid,
    fine_grid,
    tune,
)
from maskq.segmentation.models import spec as model
from maskq.segmentation.models.registry import SHIPPED, find
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.branched_erfnet import BranchedERFNet
from maskq.segmentation.network.tiling import Bounds
from maskq.segmentation.segmenter import Segmenter


def no_progress(items: Iterable[Any], step: str, count: int) -> Iterable[Any]:
    return items


def trial(ap: float, threshold: float, pixels: int) -> Trial:
    """A trial with this AP, rounded to a tenth."""
    hit = np.eye(10, dtype=np.int32).cumsum().reshape(10, 10) * np.eye(10, dtype=np.int32)
    found = np.where(hit <= round(ap * 10), hit, 0)
    return Trial(Clustering(threshold, pixels), summarise([score(hit, found, (0.5, 0.75))]))


class Squares:
    """A fake network: true squares are 10 × 10 with seediness .8, dirt is 6 × 6 with seediness .9."""

    def __init__(self) -> None:
        self.runs = 0

    def embed(self, pixels: Pixels) -> bytes:
        self.runs += 1
        return pixels.tobytes()

    def unpack(self, packed: bytes) -> Labels:
        return np.frombuffer(packed, np.uint8).reshape(60, 60).astype(np.int32)

    def read(self, fields: Labels, parameters: Clustering) -> Labels:
        areas = np.bincount(fields.ravel(), minlength=256)
        seediness = np.where(np.arange(256) % 2, 0.8, 0.9)  # odd labels are true objects, even ones dirt
        keep = (areas > parameters.min_pixels) & (seediness >= parameters.seed_threshold)
        return np.where(keep[fields], fields, 0)


@pytest.fixture
def cache(tmp_path: Path) -> FieldCache:
    for name in ("images", "labels", "fields"):
        (tmp_path / name).mkdir()
    for number in range(3):
        labels = np.zeros((60, 60), np.uint8)
        for label in range(1, 9):
            row, column, side = 15 * (label // 4), 15 * (label % 4), 10 if label % 2 else 6
            labels[row : row + side, column : column + side] = label
        Image.fromarray(labels).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(labels * (labels % 2)).save(tmp_path / "labels" / f"{number}.png")
    return FieldCache(pairs(tmp_path), cast(SegmenterReader, Squares()), tmp_path / "fields", no_progress)


def test_tuning_finds_parameters_that_separate_objects_from_dirt(cache: FieldCache) -> None:
    tuning = tune(cache, Clustering(0.9, 0, 5), no_progress)
    assert tuning.before.parameters == Clustering(0.9, 0, 5) and tuning.before.objective == 0
    assert tuning.after.objective == 1
    chosen = tuning.after.parameters
    assert chosen.seed_threshold <= 0.8 and 36 <= chosen.min_pixels < 100 and chosen.min_unclustered == 5
    assert tuning.evaluation.summary.pooled[0].ap == 1 and len(tuning.evaluation.summary.pooled) == 10
    assert list(tuning.evaluation.images) == ["0", "1", "2"]


def test_the_network_runs_once_per_image(cache: FieldCache) -> None:
    tune(cache, Clustering(), no_progress)
    assert cast(Squares, cache.reader).runs == 3 and sorted(cache.areas.tolist()) == [100] * 12


def test_optimal_parameters_are_not_made_worse(cache: FieldCache) -> None:
    tuning = tune(cache, Clustering(0.777, 41), no_progress)
    assert tuning.before.objective == tuning.after.objective == 1


def test_the_coarse_grid_ends_at_the_smallest_objects_and_includes_the_start() -> None:
    thresholds, sizes = coarse_grid(Clustering(0.9123, 77), np.full(100, 150))
    assert thresholds == sorted({*SEED_THRESHOLDS, 0.9123}) and sizes == [0, 8, 16, 24, 36, 64, 77, 96, 128]
    assert coarse_grid(Clustering(), np.array([3, 4, 5]))[1] == [0, 8, 16, 24, 36]
    assert coarse_grid(Clustering(), np.zeros(0, int))[1] == list(MIN_PIXELS[:5])


def test_the_fine_grid_lies_between_the_coarse_neighbours() -> None:
    thresholds, sizes = fine_grid(Clustering(0.8, 0), [0.6, 0.8, 0.85], [0, 8, 16])
    assert (thresholds[0], thresholds[-1]) == (0.6, 0.85) and 0.8 in thresholds and len(thresholds) in (7, 8)
    assert (sizes[0], sizes[-1]) == (0, 8) and len(sizes) == 7


def test_the_highest_objective_wins_and_among_ties_the_most_central() -> None:
    trials = [trial(0.4, 0.5, 36), *(trial(0.6, t, 36) for t in (0.6, 0.7, 0.8)), trial(0.3, 0.9, 36)]
    assert choose(trials).parameters == Clustering(0.7, 36)
    square = [trial(0.6, t, m) for t in (0.6, 0.7, 0.8) for m in (8, 16, 24)]
    assert choose(square).parameters == Clustering(0.7, 16)
    assert choose([*square, trial(0.7, 0.5, 0)]).parameters == Clustering(0.5, 0)


def test_the_objective_is_the_mean_of_four_aps() -> None:
    whole, half = np.ones((4, 4), np.int32), np.ones((4, 4), np.int32)
    half[:2] = 0  # an IoU of ½: matched at .5, not at .75
    two = whole.copy()
    two[:, 2:], two[2:, :2], two[2:, 2:] = 2, 3, 4
    scores = [score(whole, half, (0.5, 0.75)), score(two, two, (0.5, 0.75))]
    # AP50 is 1 both ways; AP75 is 4 / 6 pooled, and 0 and 1 by image.
    assert Trial(Clustering(), summarise(scores)).objective == pytest.approx((1 + 1 + 4 / 6 + 1 / 2) / 4)


def test_the_segmenter_reader_gives_the_labels_of_segment() -> None:
    segmenter = Segmenter.load(find("nuclei"))
    y, x = np.mgrid[:72, :88]
    pixels = (200 * (np.hypot(y - 30, x - 40) < 12) + 20 + (x + y) % 5).astype(np.uint8)[..., None]
    for tta in (False, True):
        reader = SegmenterReader(segmenter, tta)
        labels = reader.read(reader.unpack(reader.embed(pixels)), reader.parameters)
        assert labels.max() == 1 and (labels == segmenter.segment(pixels, tta=tta)[0]).all()
        assert not reader.read(reader.unpack(reader.embed(pixels)), Clustering(0.5, 5000)).any()


def test_with_a_diameter_min_pixels_counts_pixels_of_the_image() -> None:
    spec = ModelSpec(name="x", diameter=20, min_pixels=36)
    reader = SegmenterReader(Segmenter(BranchedERFNet(1, 2), spec), diameter=40)
    assert reader.parameters.min_pixels == 4 * 36


def test_the_given_bounds_are_used() -> None:
    pixels = np.zeros((64, 64, 1), np.uint8)
    enlarged = Segmenter(BranchedERFNet(1, 2), ModelSpec(name="x", scale=2))
    with pytest.raises(ImageTooLarge, match="over the limit of 4,096 pixels"):
        SegmenterReader(enlarged, bounds=Bounds(max_pixels=4096)).embed(pixels)
    # The spec has no halo, so the program can't be tiled.
    whole = Segmenter(BranchedERFNet(1, 2), ModelSpec(name="x", network="program"))
    with pytest.raises(ImageTooLarge, match=r"over 1,000 pixels, and model x can't be run in tiles"):
        SegmenterReader(whole, bounds=Bounds(tile_pixels=1000)).embed(pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model.write_model(tmp_path, ModelSpec(name="x", summary="seed_threshold = 3", unit=48, licence="CC0"), b"weights")
    return tmp_path


def test_parameters_are_stored_and_nothing_else_changes(folder: Path) -> None:
    before = (folder / "model.toml").read_text().splitlines()
    store(folder, Clustering(0.853, 41))
    after = (folder / "model.toml").read_text().splitlines()
    assert [line for line in after if line not in before] == ["seed_threshold = 0.853", "min_pixels = 41"]
    assert len(after) == len(before) and model.read_weights(folder) == b"weights"
    assert model.read_spec(folder).clustering() == Clustering(0.853, 41)
    assert sorted(p.name for p in folder.iterdir()) == ["model.toml", "weights.safetensors"]


def test_parameters_missing_from_the_spec_are_added(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_text('name = "x"')
    store(tmp_path, Clustering(0.5, 0))
    spec = tomllib.loads((tmp_path / "model.toml").read_text())
    assert spec == {"name": "x", "seed_threshold": 0.5, "min_pixels": 0}


LOOKALIKE = 'name = "x"\r\nsummary = """\r\nseed_threshold = 0.7"""\r\n'


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (LOOKALIKE + "seed_threshold = 0.9  # why\r\n", LOOKALIKE + "seed_threshold = 0.853  # why\r\n"),
        (LOOKALIKE + " 'seed_threshold'=0.9", LOOKALIKE + " 'seed_threshold'=0.853"),
        (LOOKALIKE + '"seed\\u005fthreshold" = 0.9', LOOKALIKE + '"seed\\u005fthreshold" = 0.853'),
        (LOOKALIKE, "seed_threshold = 0.853\n" + LOOKALIKE),
    ],
)
def test_the_value_changes_but_not_a_string_that_looks_like_it(tmp_path: Path, text: str, stored: str) -> None:
    (tmp_path / "model.toml").write_bytes(b"min_pixels = 1\n" + text.encode())
    store(tmp_path, Clustering(0.853, 41))
    expected = stored.replace(LOOKALIKE, "min_pixels = 41\n" + LOOKALIKE)
    assert (tmp_path / "model.toml").read_bytes() == expected.encode()


def test_models_that_come_with_the_package_are_never_changed(tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(SHIPPED, target_is_directory=True)
    for place in (SHIPPED / "nuclei", tmp_path / "mine" / "nuclei"):
        with pytest.raises(ModelNotWritable, match=r"comes with maskq.* copy the model's folder .*MASKQ_MODELS"):
            check_writable(place)


def test_the_error_for_a_read_only_folder_says_where_to_copy_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = (folder / "model.toml").read_bytes()

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ModelNotWritable, match=r"Permission denied.*MASKQ_MODELS"):
        store(folder, Clustering(0.5, 0))
    assert (folder / "model.toml").read_bytes() == spec
    with pytest.raises(ModelNotWritable, match="MASKQ_MODELS"):
        check_writable(folder / "nowhere")
    check_writable(folder)


@pytest.mark.parametrize("text", ["name = ", 'name = "x"\nunheard = 1', 'name = "x"\nmin_pixels = 1\nmin_pixels = 2'])
def test_an_invalid_spec_is_left_unchanged(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(InvalidModel, match=r"model\.toml"):
        store(tmp_path, Clustering(0.5, 0))
    assert (tmp_path / "model.toml").read_text() == text
