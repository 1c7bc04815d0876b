"""Data sets are read, or refused with the reason; crops and their labels stay aligned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from maskq.segmentation.dataset import InvalidDataset, Pair, pairs, train_val_split, write_index
from maskq.segmentation.errors import NotAnImage
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.training.augmentation import CropSampler

Array = NDArray[Any]


def squares(height: int = 96, width: int = 120, every: int = 24) -> Array:
    """(H, W) labels of separate squares, without rotational symmetry."""
    labels = np.zeros((height, width), np.uint16)
    for number, (row, column) in enumerate(np.ndindex(height // every, width // every), 1):
        if (row * 3 + column * 5) % 4:
            labels[row * every + 3 : row * every + 17, column * every + 5 : column * every + 19] = number
    return labels


def write(folder: Path, name: str, labels: Array, image: Array | None = None) -> None:
    """Write an image, by default bright inside the objects, and its labels."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    np.save(folder / "labels" / f"{name}.npy", labels)
    np.save(folder / "images" / f"{name}.npy", (labels > 0) * np.uint8(200) if image is None else image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b", "a", "c"):
        write(tmp_path, name, squares())
    (tmp_path / "index.csv").write_text("id,split,site\na,train,1\nb,train,2\nc,val,3\n")
    return tmp_path


def crops(folder: Path, size: int = 64) -> CropSampler:
    return CropSampler(pairs(folder), ModelSpec(name="any", min_pixels=0), size)


# Folders


def test_images_and_labels_are_paired_by_stem_and_sorted(folder: Path) -> None:
    (folder / "images" / "a.npy").rename(folder / "images" / "a.other")
    data = pairs(folder)
    assert [pair.name for pair in data] == ["a", "b", "c"]
    assert data[0] == Pair("a", folder / "images" / "a.other", folder / "labels" / "a.npy")


def test_splits_come_from_the_index(folder: Path) -> None:
    assert [pair.name for pair in pairs(folder, "train")] == ["a", "b"]
    assert [pair.name for pair in pairs(folder, "val")] == ["c"]


def test_an_index_can_be_elsewhere(folder: Path, tmp_path: Path) -> None:
    write_index(tmp_path / "split.csv", train=pairs(folder, "val"), val=pairs(folder, "train"))
    train, val = train_val_split(folder, tmp_path / "split.csv")
    assert [p.name for p in train] == ["c"] and [p.name for p in val] == ["a", "b"]
    assert [p.name for p in pairs(folder, "train", tmp_path / "split.csv")] == ["c"]


def test_the_train_val_split_comes_from_the_index(folder: Path) -> None:
    train, val = train_val_split(folder)
    assert [p.name for p in train] == ["a", "b"] and [p.name for p in val] == ["c"]
    (folder / "index.csv").write_text("id,split\na,train\n")
    assert [len(part) for part in train_val_split(folder)] == [1, 0]


def test_an_image_in_both_splits_is_refused(folder: Path) -> None:
    (folder / "index.csv").write_text("id,split\na,train\nb,train\na,val\n")
    with pytest.raises(InvalidDataset, match="a in train and in val"):
        train_val_split(folder)


def test_without_an_index_every_fifth_image_is_held_out(tmp_path: Path) -> None:
    for name in "abcdefghijk":
        write(tmp_path, name, squares())
    train, val = train_val_split(tmp_path)
    assert [p.name for p in val] == ["e", "j"] and len(train) == 9


def test_an_index_saved_by_a_spreadsheet_is_read(folder: Path) -> None:
    (folder / "index.csv").write_bytes(b"\xef\xbb\xbfid,split\r\na,train\r\n\xc3\xa9,train\r\n")
    assert [pair.name for pair in pairs(folder, "train")] == ["a"]


def test_files_without_a_partner_are_ignored(folder: Path) -> None:
    (folder / "images" / "a.npy").unlink()
    (folder / "labels" / "b.npy").unlink()
    assert [pair.name for pair in pairs(folder)] == ["c"]


def test_hidden_files_and_folders_are_ignored(folder: Path) -> None:
    for part in ("images", "labels"):
        (folder / part / ".DS_Store").write_bytes(b"Mac")
        (folder / part / "thumbnails").mkdir()
    assert [pair.name for pair in pairs(folder)] == ["a", "b", "c"]


@pytest.mark.parametrize("missing", ["images", "labels"])
def test_a_folder_without_images_or_labels_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).rename(folder / "elsewhere")
    with pytest.raises(InvalidDataset, match=rf"^{folder}: needs the folders images/ and labels/.* elsewhere/, "):
        pairs(folder)


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    with pytest.raises(InvalidDataset, match="no image with labels$"):
        pairs(tmp_path)


def test_a_split_without_an_index_or_without_members_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidDataset, match="no image with labels in split 'tset'"):
        pairs(folder, "tset")
    (folder / "index.csv").unlink()
    with pytest.raises(InvalidDataset, match="index.csv: no such file"):
        pairs(folder, "train")


@pytest.mark.parametrize("column", ["id", "split"])
def test_the_error_for_an_index_without_a_column_names_the_column(folder: Path, column: str) -> None:
    index = folder / "index.csv"
    index.write_text(index.read_text().replace(column, "other"))
    with pytest.raises(InvalidDataset, match=rf"index\.csv: no column '{column}'"):
        pairs(folder, "train")


def test_a_binary_index_is_refused(folder: Path) -> None:
    (folder / "index.csv").write_bytes(b"id,split\n\xff\xfe\x00\n")
    with pytest.raises(InvalidDataset, match=r"index\.csv: not a CSV file"):
        pairs(folder, "train")


def test_two_images_of_one_name_are_refused(folder: Path) -> None:
    (folder / "images" / "a.png").write_bytes(b"")
    with pytest.raises(InvalidDataset, match=r"a\.npy and a\.png have one name, 'a'"):
        pairs(folder)


# Labels


@pytest.mark.parametrize("kind", ["?", "u1", "u2", "i4", "u4", "i8"])
def test_labels_of_any_integer_type_are_read(tmp_path: Path, kind: str) -> None:
    labels = (squares() % 50).astype(kind)
    write(tmp_path, "a", labels)
    read = pairs(tmp_path)[0].read_labels()
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, labels)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.full((9, 9, 3), [9, 0, 7], np.uint8), "3 channels of uint8"),
        (np.full((9, 9), 0.5), "81 values are no whole numbers, such as 0.5"),
        (np.full((9, 9), -1), "labels from -1 to -1"),
        (np.full((9, 9), 2**31), "labels from 2147483648 to 2147483648, outside 0 to 2147483647"),
    ],
    ids=["colours", "floats", "negative", "huge"],
)
def test_files_that_are_not_label_images_are_refused(tmp_path: Path, labels: Array, reason: str) -> None:
    write(tmp_path, "a", labels)
    with pytest.raises(InvalidDataset, match=rf"labels/a\.npy: {reason}"):
        pairs(tmp_path)[0].read_labels()


def test_the_error_for_a_file_that_is_not_an_image_names_it(folder: Path) -> None:
    (folder / "images" / "b.npy").write_text("no image")
    with pytest.raises(NotAnImage, match=r"^b\.npy: "):
        crops(folder)


def test_labels_of_another_size_than_their_image_are_refused(folder: Path) -> None:
    write(folder, "b", squares(), image=squares(96, 96))
    with pytest.raises(InvalidDataset, match=r"labels/b\.npy: 96×120 pixels, but .*images/b\.npy has 96×96"):
        crops(folder)


def test_a_data_set_without_a_single_object_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", np.zeros((50, 50), np.uint8))
    with pytest.raises(InvalidDataset, match="no label image has an object"):
        crops(tmp_path)


# Crops


def test_a_batch_has_the_shapes_and_types_that_training_needs(folder: Path) -> None:
    images, labels = CropSampler(pairs(folder), ModelSpec(name="any", channels="rgb"), 40).batch(
        3, np.random.default_rng(0)
    )
    assert images.shape == (3, 3, 40, 40) and images.dtype == np.float32 and images.flags.c_contiguous
    assert labels.shape == (3, 40, 40) and labels.dtype == np.int32 and labels.flags.c_contiguous
    assert np.isfinite(images).all()


def test_crops_depend_only_on_the_seed(folder: Path) -> None:
    one, again, other = (crops(folder).batch(4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for mine, theirs in zip(one, again, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not np.array_equal(one[1], other[1])


def test_every_crop_shows_an_object(folder: Path) -> None:
    _, labels = crops(folder, 32).batch(40, np.random.default_rng(0))
    assert all(crop.any() for crop in labels)


def test_an_image_without_objects_gives_no_crops(tmp_path: Path) -> None:
    write(tmp_path, "empty", np.zeros((96, 96), np.uint8), image=np.full((96, 96), 9, np.uint8))
    write(tmp_path, "full", squares())
    _, labels = crops(tmp_path, 32).batch(40, np.random.default_rng(0))
    assert all(crop.any() for crop in labels)


SHAPES = {"large": (96, 120), "small": (40, 50), "narrow": (20, 200), "thin": (1, 60), "one-pixel": (1, 1)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_crops_of_images_of_any_size_have_the_given_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    labels = np.zeros(shape, np.uint16)
    labels[: max(1, shape[0] // 2), : max(1, shape[1] // 2)] = 1
    write(tmp_path, "a", labels)
    images, truths = crops(tmp_path, 64).batch(8, np.random.default_rng(0))
    assert images.shape[1:] == (1, 64, 64) and truths.shape[1:] == (64, 64)
    assert set(np.unique(truths)) <= {0, 1} and (truths == 1).any(axis=(1, 2)).all() and np.isfinite(images).all()


@pytest.mark.parametrize("shape", [(96, 120), (72, 96)], ids=["large", "smaller-than-the-crop"])
def test_image_and_labels_stay_aligned_through_rotation_scale_and_light(tmp_path: Path, shape: tuple[int, int]) -> None:
    write(tmp_path, "a", squares(*shape))
    images, labels = crops(tmp_path, 64).batch(60, np.random.default_rng(0))
    for image, truth in zip(images[:, 0], labels > 0, strict=True):
        assert np.corrcoef(image.ravel(), truth.ravel())[0, 1] > 0.8
        assert np.median(image[truth]) > np.median(image[~truth]) + 0.1


def test_an_object_in_a_crop_is_one_piece_even_at_the_border_of_the_image(tmp_path: Path) -> None:
    write(tmp_path, "a", squares(48, 48))
    _, labels = crops(tmp_path, 64).batch(60, np.random.default_rng(0))
    for truth in labels:
        for label in np.unique(truth[truth > 0]):
            assert ndimage.label(truth == label)[1] == 1


def test_crops_vary_in_size_rotation_and_flip(tmp_path: Path) -> None:
    labels = np.zeros((160, 160), np.uint16)
    labels[70:90, 75:82] = 1  # upright
    labels[70:75, 75:90] = 1  # with an arm at its top right
    write(tmp_path, "a", labels)
    _, truths = crops(tmp_path, 96).batch(80, np.random.default_rng(0))
    areas = (truths > 0).sum(axis=(1, 2))
    assert areas.max() > 2 * areas.min()
    seen = set()
    for truth in truths > 0:
        rows, columns = np.nonzero(truth)
        middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
        seen.add((np.ptp(rows) > np.ptp(columns), rows.mean() < middle[0], columns.mean() < middle[1]))
    assert len(seen) == 8


def test_huge_label_values_give_the_same_crops(tmp_path: Path) -> None:
    for name, factor in (("small", 1), ("huge", 50_000_000)):
        write(tmp_path / name, "a", squares().astype(np.int64) * factor)
    small, huge = (crops(tmp_path / name).batch(4, np.random.default_rng(0)) for name in ("small", "huge"))
    np.testing.assert_array_equal(small[0], huge[0])
    np.testing.assert_array_equal(small[1] > 0, huge[1] > 0)
    assert huge[1].max() <= squares().size


def test_the_scale_of_the_model_applies_to_crops(folder: Path) -> None:
    rng = np.random.default_rng
    _, full = CropSampler(pairs(folder), ModelSpec(name="any"), 64).batch(8, rng(0))
    _, half = CropSampler(pairs(folder), ModelSpec(name="any", scale=0.5), 64).batch(8, rng(0))

    def largest(labels: Array) -> float:
        return float(np.median([np.bincount(crop[crop > 0]).max() for crop in labels]))

    assert 2.5 < largest(full) / largest(half) < 6  # a quarter of the area, except for objects cut by borders


@pytest.mark.parametrize(("min_pixels", "objects"), [(8, 2), (9, 1)])
def test_objects_below_min_pixels_become_background(tmp_path: Path, min_pixels: int, objects: int) -> None:
    labels = np.zeros((64, 64), np.uint16)
    labels[10:30, 10:30], labels[40:43, 40:43] = 1, 2
    write(tmp_path, "a", labels)
    spec = ModelSpec(name="any", min_pixels=min_pixels)
    _, truths = CropSampler(pairs(tmp_path), spec, 64).batch(20, np.random.default_rng(0))
    assert truths.max() == objects


def test_crops_are_cut_more_often_around_objects_that_touch(tmp_path: Path) -> None:
    labels = np.zeros((400, 400), np.uint16)
    labels[20:40, 20:40], labels[20:40, 41:60] = 1, 2  # a pair
    labels[350:370, 350:370], labels[350:370, 250:270] = 3, 4  # far from each other
    write(tmp_path, "a", labels)
    _, truths = crops(tmp_path, 48).batch(300, np.random.default_rng(0))
    pairs_seen = (truths == 1).any((1, 2)) | (truths == 2).any((1, 2))
    assert 0.58 < pairs_seen.mean() < 0.75  # two of three
