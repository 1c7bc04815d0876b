"""The choice of parameters: what is tried, what wins, and how it is stored."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskq.segmentation.clustering.cluster import Clustering
from maskq.segmentation.dataset import pairs
from maskq.segmentation.errors import ImageTooLarge, InvalidModel, ModelNotWritable
from maskq.segmentation.evaluation.metrics import score, summarise
from maskq.segmentation.evaluation.parameters import check_writable, store
from maskq.segmentation.evaluation.reading import SegmenterReader
from maskq.segmentation.evaluation.tuning import MIN_PIXELS, SEED_THRESHOLDS, Kept, Trial, around, choose, grid, tune
from maskq.segmentation.models import spec as model
from maskq.segmentation.models.registry import SHIPPED, find
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.branched_erfnet import BranchedERFNet
from maskq.segmentation.network.tiling import Bounds
from maskq.segmentation.segmenter import Segmenter


def watch(items, what, count):
    return items


def trial(ap: float, threshold: float, pixels: int) -> Trial:
    """A trial with this AP, to the hundredth."""
    hit = np.eye(10, dtype=np.int32).cumsum().reshape(10, 10) * np.eye(10, dtype=np.int32)
    found = np.where(hit <= round(ap * 10), hit, 0)
    return Trial(Clustering(threshold, pixels), summarise([score(hit, found, (0.5, 0.75))]))


class Squares:
    """A network that knows: squares of 10 × 10 are true and are seen with .8, those of 6 × 6 are dirt and with .9."""

    def __init__(self) -> None:
        self.runs = 0

    def embed(self, pixels):
        self.runs += 1
        return pixels.tobytes()

    def unpack(self, packed):
        return np.frombuffer(packed, np.uint8).reshape(60, 60).astype(np.int32)

    def read(self, fields, parameters):
        areas = np.bincount(fields.ravel(), minlength=256)
        seen = np.where(np.arange(256) % 2, 0.8, 0.9)  # odd labels are true objects, even ones dirt
        keep = (areas > parameters.min_pixels) & (seen >= parameters.seed_threshold)
        return np.where(keep[fields], fields, 0)


@pytest.fixture
def kept(tmp_path):
    for name in ("images", "labels", "fields"):
        (tmp_path / name).mkdir()
    for number in range(3):
        labels = np.zeros((60, 60), np.uint8)
        for label in range(1, 9):
            row, column, side = 15 * (label // 4), 15 * (label % 4), 10 if label % 2 else 6
            labels[row : row + side, column : column + side] = label
        Image.fromarray(labels).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(labels * (labels % 2)).save(tmp_path / "labels" / f"{number}.png")
    return Kept(pairs(tmp_path), Squares(), tmp_path / "fields", watch)


def test_what_parts_true_objects_from_dirt_is_found(kept):
    tuning = tune(kept, Clustering(0.9, 0, 5), watch)
    assert tuning.before.parameters == Clustering(0.9, 0, 5) and tuning.before.objective == 0
    assert tuning.after.objective == 1
    chosen = tuning.after.parameters
    assert chosen.seed_threshold <= 0.8 and 36 <= chosen.min_pixels < 100 and chosen.min_unclustered == 5
    assert tuning.evaluation.summary.pooled[0].ap == 1 and len(tuning.evaluation.summary.pooled) == 10
    assert list(tuning.evaluation.images) == ["0", "1", "2"]


def test_the_network_runs_once_an_image(kept):
    tune(kept, Clustering(), watch)
    assert kept.reader.runs == 3 and sorted(kept.areas.tolist()) == [100] * 12


def test_what_is_best_already_is_not_made_worse(kept):
    tuning = tune(kept, Clustering(0.777, 41), watch)
    assert tuning.before.objective == tuning.after.objective == 1


def test_the_grid_ends_at_the_smallest_objects_and_holds_the_start():
    thresholds, sizes = grid(Clustering(0.9123, 77), np.full(100, 150))
    assert thresholds == sorted({*SEED_THRESHOLDS, 0.9123}) and sizes == [0, 8, 16, 24, 36, 64, 77, 96, 128]
    assert grid(Clustering(), np.array([3, 4, 5]))[1] == [0, 8, 16, 24, 36]
    assert grid(Clustering(), np.zeros(0, int))[1] == list(MIN_PIXELS[:5])


def test_the_fine_grid_lies_between_the_neighbours():
    thresholds, sizes = around(Clustering(0.8, 0), [0.6, 0.8, 0.85], [0, 8, 16])
    assert (thresholds[0], thresholds[-1]) == (0.6, 0.85) and 0.8 in thresholds and len(thresholds) in (7, 8)
    assert (sizes[0], sizes[-1]) == (0, 8) and len(sizes) == 7


def test_the_highest_objective_wins_and_of_equals_the_most_central():
    trials = [trial(0.4, 0.5, 36), *(trial(0.6, t, 36) for t in (0.6, 0.7, 0.8)), trial(0.3, 0.9, 36)]
    assert choose(trials).parameters == Clustering(0.7, 36)
    square = [trial(0.6, t, m) for t in (0.6, 0.7, 0.8) for m in (8, 16, 24)]
    assert choose(square).parameters == Clustering(0.7, 16)
    assert choose([*square, trial(0.7, 0.5, 0)]).parameters == Clustering(0.5, 0)


def test_the_objective_is_the_mean_of_four():
    whole, half = np.ones((4, 4), np.int32), np.ones((4, 4), np.int32)
    half[:2] = 0  # an IoU of ½: matched at .5, not at .75
    two = whole.copy()
    two[:, 2:], two[2:, :2], two[2:, 2:] = 2, 3, 4
    scores = [score(whole, half, (0.5, 0.75)), score(two, two, (0.5, 0.75))]
    # AP50 is 1 both ways; AP75 pooled is 4 / 6, and by image 0 and 1.
    assert Trial(Clustering(), summarise(scores)).objective == pytest.approx((1 + 1 + 4 / 6 + 1 / 2) / 4)


def test_the_real_reader_gives_what_segmenting_gives():
    segmenter = Segmenter.load(find("nuclei"))
    y, x = np.mgrid[:72, :88]
    pixels = (200 * (np.hypot(y - 30, x - 40) < 12) + 20 + (x + y) % 5).astype(np.uint8)[..., None]
    for tta in (False, True):
        reader = SegmenterReader(segmenter, tta)
        found = reader.read(reader.unpack(reader.embed(pixels)), reader.parameters)
        assert found.max() == 1 and (found == segmenter.segment(pixels, tta=tta)[0]).all()
        assert not reader.read(reader.unpack(reader.embed(pixels)), Clustering(0.5, 5000)).any()


def test_with_a_diameter_pixels_are_counted_in_the_image():
    spec = ModelSpec(name="x", diameter=20, min_pixels=36)
    reader = SegmenterReader(Segmenter(BranchedERFNet(1, 2), spec), diameter=40)
    assert reader.parameters.min_pixels == 4 * 36


def test_the_bounds_are_those_that_are_given():
    pixels = np.zeros((64, 64, 1), np.uint8)
    enlarged = Segmenter(BranchedERFNet(1, 2), ModelSpec(name="x", scale=2))
    with pytest.raises(ImageTooLarge, match="over the limit of 4,096 pixels"):
        SegmenterReader(enlarged, bounds=Bounds(max_pixels=4096)).embed(pixels)
    whole = Segmenter(
        BranchedERFNet(1, 2), ModelSpec(name="x", network="program")
    )  # says no halo, so it can't be tiled
    with pytest.raises(ImageTooLarge, match=r"over 1,000 pixels, and model x can't be run in tiles"):
        SegmenterReader(whole, bounds=Bounds(tile_pixels=1000)).embed(pixels)


@pytest.fixture
def folder(tmp_path):
    model.write(tmp_path, ModelSpec(name="x", summary="seed_threshold = 3", unit=48, licence="CC0"), b"weights")
    return tmp_path


def test_parameters_are_stored_and_nothing_else_changes(folder):
    before = (folder / "model.toml").read_text().splitlines()
    store(folder, Clustering(0.853, 41))
    after = (folder / "model.toml").read_text().splitlines()
    assert [line for line in after if line not in before] == ["seed_threshold = 0.853", "min_pixels = 41"]
    assert len(after) == len(before) and model.read_weights(folder) == b"weights"
    assert model.read_spec(folder).clustering() == Clustering(0.853, 41)
    assert sorted(p.name for p in folder.iterdir()) == ["model.toml", "weights.safetensors"]


def test_parameters_that_the_spec_left_out_are_added(tmp_path):
    (tmp_path / "model.toml").write_text('name = "x"')
    store(tmp_path, Clustering(0.5, 0))
    told = tomllib.loads((tmp_path / "model.toml").read_text())
    assert told == {"name": "x", "seed_threshold": 0.5, "min_pixels": 0}


LOOKALIKE = 'name = "x"\r\nsummary = """\r\nseed_threshold = 0.7"""\r\n'


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (LOOKALIKE + "seed_threshold = 0.9  # why\r\n", LOOKALIKE + "seed_threshold = 0.853  # why\r\n"),
        (LOOKALIKE + " 'seed_threshold'=0.9", LOOKALIKE + " 'seed_threshold'=0.853"),
        (LOOKALIKE, "seed_threshold = 0.853\n" + LOOKALIKE),
    ],
)
def test_the_value_changes_and_no_string_that_looks_like_it(tmp_path, text, stored):
    (tmp_path / "model.toml").write_bytes(b"min_pixels = 1\n" + text.encode())
    store(tmp_path, Clustering(0.853, 41))
    expected = stored.replace(LOOKALIKE, "min_pixels = 41\n" + LOOKALIKE)
    assert (tmp_path / "model.toml").read_bytes() == expected.encode()


def test_the_packages_own_models_are_never_changed(tmp_path):
    (tmp_path / "mine").symlink_to(SHIPPED, target_is_directory=True)
    for place in (SHIPPED / "nuclei", tmp_path / "mine" / "nuclei"):
        with pytest.raises(ModelNotWritable, match=r"comes with maskq.* copy the model's folder .*MASKQ_MODELS"):
            check_writable(place)


def test_a_folder_that_may_not_be_changed_says_where_to_copy_it(folder, monkeypatch):
    spec = (folder / "model.toml").read_bytes()

    def refuse(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ModelNotWritable, match=r"Permission denied.*MASKQ_MODELS"):
        store(folder, Clustering(0.5, 0))
    assert (folder / "model.toml").read_bytes() == spec
    with pytest.raises(ModelNotWritable, match="MASKQ_MODELS"):
        check_writable(folder / "nowhere")
    check_writable(folder)


@pytest.mark.parametrize("text", ["name = ", 'name = "x"\nunheard = 1', 'name = "x"\n"min\\u005fpixels" = 9'])
def test_a_spec_that_is_none_is_left_alone(tmp_path, text):
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(InvalidModel, match=r"model\.toml"):
        store(tmp_path, Clustering(0.5, 0))
    assert (tmp_path / "model.toml").read_text() == text
