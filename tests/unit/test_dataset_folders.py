"""Data sets as people keep them: names and folders are understood if they are certain, and what is left out is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from maskq.segmentation.dataset import (
    Facts,
    InvalidDataset,
    examine,
    has_splits,
    label_warnings,
    pairs,
    refuse_foreground_masks,
    refuse_numbered_background,
    train_val_split,
)
from maskq.segmentation.errors import AmbiguousChannels, MultiPageImage
from tests.unit.test_dataset import squares

Array = NDArray[Any]


def make(folder: Path, *files: str, content: Mapping[str, Array] | None = None) -> Path:
    """Write small images of these names below `folder`; other content by name."""
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = (content or {}).get(name, np.array([[0, 1], [2, 0]], np.uint8))
        if path.suffix == ".tif":
            tifffile.imwrite(path, values, photometric="minisblack")
        else:
            Image.fromarray(values).save(path)
    return folder


def found(folder: Path, split: str | None = None) -> dict[str, tuple[str, str]]:
    """The names of the pairs, each with its files below the folder."""
    return {
        pair.name: (str(pair.image.relative_to(folder)), str(pair.labels.relative_to(folder)))
        for pair in pairs(folder, split)
    }


# Names


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("a.png", "a_masks.png"),
        ("a.png", "a_mask.tif"),
        ("a.png", "a_label.png"),
        ("a.png", "a-labels.png"),
        ("a.png", "a.labels.png"),
        ("a.png", "a_seg.png"),
        ("a.png", "a_cp_masks.png"),
        ("a.png", "a_gt.png"),
        ("a.png", "a_Ground_Truth.png"),
        ("a_img.png", "a_masks.png"),
        ("A_IMG.png", "a_masks.png"),
        ("a_img.png", "a_img_cp_masks.tif"),
        ("a_image.png", "a.png"),
        ("a.ome.tif", "a.ome.tif"),
        ("a.ome.tif", "a.tif"),
        ("a.ome.tif", "a_masks.ome.tif"),
        ("a.OME.tif", "a_labels.png"),
        ("img_01.png", "mask_01.png"),
        ("01.png", "label-01.png"),
    ],
)
def test_labels_are_found_by_usual_suffixes(tmp_path: Path, image: str, labels: str) -> None:
    make(tmp_path, f"images/{image}", f"labels/{labels}")
    ((name, files),) = found(tmp_path).items()
    assert files == (f"images/{image}", f"labels/{labels}")
    assert image.lower().startswith(name.lower())


def test_equal_names_go_before_suffixes(tmp_path: Path) -> None:
    make(tmp_path, "images/cell.png", "images/cell_image.png", "labels/cell.png", "labels/cell_image.png")
    assert found(tmp_path) == {
        "cell": ("images/cell.png", "labels/cell.png"),
        "cell_image": ("images/cell_image.png", "labels/cell_image.png"),
    }


@pytest.mark.parametrize(
    ("files", "both"),
    [
        (["images/a.png", "labels/a.png", "labels/a_masks.png"], r"labels/a\.png and .*labels/a_masks\.png both fit"),
        (["images/a.png", "labels/a_gt.png", "labels/a_masks.png"], r"a_gt\.png and .*a_masks\.png both fit"),
        (["images/a_img.png", "images/a_raw.png", "labels/a_seg.png"], r"a_img\.png and .*a_raw\.png both fit"),
    ],
)
def test_two_files_that_fit_are_refused_by_name(tmp_path: Path, files: list[str], both: str) -> None:
    with pytest.raises(InvalidDataset, match=both):
        pairs(make(tmp_path, *files))


def test_files_without_a_partner_are_told_with_their_number(tmp_path: Path) -> None:
    make(tmp_path, *[f"images/{n}.png" for n in range(6)], "labels/0_masks.png", "labels/lone.png")
    told: list[str] = []
    assert len(pairs(tmp_path, tell=told.append)) == 1
    assert told == [
        f"{tmp_path}: 5 images have no labels and are left out: 1.png, 2.png, 3.png and 2 more",
        f"{tmp_path}: 1 label file has no image and is left out: lone.png",
    ]


def test_if_nothing_pairs_the_error_shows_names_of_both_kinds(tmp_path: Path) -> None:
    make(tmp_path, "images/a.png", "labels/b.png")
    with pytest.raises(InvalidDataset, match=r"no image with labels; images: a\.png; labels: b\.png; name both alike"):
        pairs(tmp_path)


def test_files_that_are_no_images_are_passed_over_and_counted(tmp_path: Path) -> None:
    make(tmp_path, "images/a.png", "labels/a.png")
    for name in ("images/a.json", "images/Thumbs.db", "labels/a.txt", "labels/a.xml", "labels/.DS_Store"):
        (tmp_path / name).write_text("{}")
    np.save(tmp_path / "images" / "a_seg.npy", np.array({"masks": 1}, dtype=object), allow_pickle=True)
    told: list[str] = []
    assert [pair.name for pair in pairs(tmp_path, tell=told.append)] == ["a"]
    assert told == [
        f"{tmp_path}/images: 3 files that are no images were passed over (1 .db, 1 .json, 1 .npy)",
        f"{tmp_path}/labels: 2 files that are no images were passed over (1 .txt, 1 .xml)",
    ]


# Folders


@pytest.mark.parametrize("labels", ["labels", "label", "masks", "mask", "gt", "annotations", "Masks"])
@pytest.mark.parametrize("images", ["images", "image", "Imgs"])
def test_usual_names_of_the_two_folders_are_understood(tmp_path: Path, images: str, labels: str) -> None:
    make(tmp_path, f"{images}/a.png", f"{labels}/a.png")
    assert found(tmp_path) == {"a": (f"{images}/a.png", f"{labels}/a.png")}


def test_labels_go_before_other_names_and_two_others_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "images/a.png", "labels/a.png", "masks/a.png", "gt/a.png")
    assert found(tmp_path)["a"][1] == "labels/a.png"
    (tmp_path / "labels").rename(tmp_path / "other")
    with pytest.raises(InvalidDataset, match=r"gt/ and masks/: which one\? Rename it to labels/"):
        pairs(tmp_path)


def test_images_and_masks_in_one_folder_are_told_apart_by_suffix(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "a_masks.png", "b.png", "b_cp_masks.tif", "c_img.tif", "c_masks.tif", "d.png")
    assert found(tmp_path) == {
        "a": ("a.png", "a_masks.png"),
        "b": ("b.png", "b_cp_masks.tif"),
        "c_img": ("c_img.tif", "c_masks.tif"),
    }


@pytest.mark.parametrize(
    "form", ["{}/images/{}.png {}/labels/{}.png", "images/{}/{}.png labels/{}/{}.png", "{}/{}.png {}/{}_masks.png"]
)
def test_folders_of_splits_are_understood(tmp_path: Path, form: str) -> None:
    for split, name in (("train", "a"), ("Validation", "b"), ("testing", "c")):
        make(tmp_path, *form.format(split, name, split, name).split())
    assert has_splits(tmp_path)
    train, val = train_val_split(tmp_path)
    assert [pair.name for pair in train] == ["a"] and [pair.name for pair in val] == ["b"]
    assert [*found(tmp_path, "valid")] == ["b"] and [*found(tmp_path, "test")] == ["c"]
    assert [*found(tmp_path)] == ["a", "b", "c"]


def test_equal_names_in_two_splits_are_two_images(tmp_path: Path) -> None:
    make(tmp_path, *[f"{split}/{kind}/1.png" for split in ("train", "val") for kind in ("images", "masks")])
    assert [*found(tmp_path)] == ["train-1", "val-1"]
    train, val = train_val_split(tmp_path)
    assert [pair.name for pair in (*train, *val)] == ["train-1", "val-1"]


def test_folders_that_are_not_understood_are_listed(tmp_path: Path) -> None:
    make(tmp_path, "pictures/a.png", "truth/a.png")
    with pytest.raises(InvalidDataset, match=r"needs the folders images/ and labels/ .* it has pictures/, truth/$"):
        pairs(tmp_path)
    with pytest.raises(InvalidDataset, match="no such folder"):
        pairs(tmp_path / "nothing")


@pytest.mark.parametrize("form", ["{}/images/{}.png {}/labels/{}.png", "images/{}/{}.png labels/{}/{}.png"])
def test_a_folder_beside_the_splits_is_named_with_its_images(tmp_path: Path, form: str) -> None:
    for split, name in (("train", "a"), ("holdout", "c"), ("holdout", "d")):
        make(tmp_path, *form.format(split, name, split, name).split())
    with pytest.raises(InvalidDataset, match=r"no split val, but holdout/ \(2 images\): call the folder"):
        train_val_split(tmp_path)
    make(tmp_path, *form.format("validation", "b", "validation", "b").split())
    told: list[str] = []
    train, val = train_val_split(tmp_path, tell=told.append)
    assert [pair.name for pair in (*train, *val)] == ["a", "b"]
    assert told == [
        f"{tmp_path}: folders that are not used: holdout/ (2 images); splits are called train, val and test"
    ]


def test_archives_of_arrays_are_named_with_what_to_do(tmp_path: Path) -> None:
    make(tmp_path, "images/a.png", "images/b.png")
    (tmp_path / "labels").mkdir()
    np.savez(tmp_path / "labels" / "a.npz", EMPTY)
    note = r"labels: 1 file that is no image was passed over \(1 \.npz\); a\.npz: save each array as a"
    with pytest.raises(InvalidDataset, match=rf"images: a\.png, b\.png; labels: none; {tmp_path}/{note}"):
        pairs(tmp_path)
    make(tmp_path, "labels/b.png")
    told: list[str] = []
    pairs(tmp_path, tell=told.append)
    assert any(re.search(note, sentence) for sentence in told)


# Splits


def indexed(folder: Path, text: str) -> Path:
    make(folder, *[f"{kind}/{name}.png" for kind in ("images", "labels") for name in "abc"])
    (folder / "index.csv").write_text(text)
    return folder


@pytest.mark.parametrize("name", ["val", "validation", "valid", "VALID", "dev", " Val "])
def test_usual_names_of_the_validation_split_are_understood(tmp_path: Path, name: str) -> None:
    train, val = train_val_split(indexed(tmp_path, f"id,split\na, Train\nb,training\nc,{name}\n"))
    assert [pair.name for pair in train] == ["a", "b"] and [pair.name for pair in val] == ["c"]


@pytest.mark.parametrize(
    "text", ["ID;Split\na.png;train\nimages/b.png;train\nC;val\n", "split\tid \ntrain\ta\ntrain\tb\nval\tc\n"]
)
def test_tables_as_spreadsheets_save_them_are_read(tmp_path: Path, text: str) -> None:
    train, val = train_val_split(indexed(tmp_path, text))
    assert [pair.name for pair in train] == ["a", "b"] and [pair.name for pair in val] == ["c"]


def test_an_unknown_split_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    indexed(tmp_path, "id,split\na,train\nb,train\nc,holdout\n")
    with pytest.raises(InvalidDataset, match=r"split 'val'; there are: train \(2\), holdout \(1\)"):
        pairs(tmp_path, "val")
    with pytest.raises(InvalidDataset, match=r"no split val, but train \(2\), holdout \(1\): call the images"):
        train_val_split(tmp_path)


def test_splits_that_training_does_not_use_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    train_val_split(indexed(tmp_path, "id,split\na,train\nb,val\nc,extra\nd,val\n"), tell=told.append)
    assert told == [
        f"{tmp_path}/index.csv: 1 ids have no image with labels: d",
        f"{tmp_path}: splits that are not used: extra (1)",
    ]


# Sizes, stacks, channels


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ((60, 40), "transposed or turned"),
        ((20, 30), "the labels are 2 times smaller"),
        ((90, 61), "do they belong to another image"),
        ((120, 180), "the labels are 3 times larger"),
        ((44, 60), "are the labels padded .by 4 rows and 0 columns"),
        ((36, 58), "are the labels cropped .by 4 rows and 2 columns"),
    ],
)
def test_labels_of_another_size_are_refused_with_a_likely_cause(
    tmp_path: Path, shape: tuple[int, int], why: str
) -> None:
    content = {"images/a.png": np.zeros((40, 60), np.uint8), "labels/a.png": np.zeros(shape, np.uint8)}
    (pair,) = pairs(make(tmp_path, *content, content=content))
    with pytest.raises(InvalidDataset, match=rf"labels/a\.png: {shape[0]}×{shape[1]} pixels, but .*40×60; .*{why}"):
        pair.read()


def test_the_channel_of_images_is_chosen_by_the_pair(tmp_path: Path) -> None:
    make(tmp_path, "labels/a.png")
    (tmp_path / "images").mkdir()
    planes = np.stack([np.full((2, 2), value, np.uint8) for value in (7, 9)])
    tifffile.imwrite(tmp_path / "images" / "a.tif", planes, imagej=True, metadata={"axes": "CYX"})
    (pair,) = pairs(tmp_path)
    with pytest.raises(AmbiguousChannels, match=r"a\.tif: 2 channels, .*choose one with --channel"):
        pair.read()
    pixels, _ = replace(pair, channel=2).read()
    assert pixels.shape == (2, 2, 1) and (pixels == 9).all()


def test_a_stack_is_refused_by_name(tmp_path: Path) -> None:
    content: dict[str, Array] = {"images/a.tif": np.zeros((3, 8, 8), np.uint16), "labels/a.png": EMPTY}
    (pair,) = pairs(make(tmp_path, *content, content=content))
    with pytest.raises(MultiPageImage, match=r"a\.tif"):
        pair.read()


# Foreground masks


def checked(folder: Path, *masks: Array) -> None:
    """Check a data set with these labels."""
    content = {f"{kind}/{n}.png": mask for n, mask in enumerate(masks) for kind in ("images", "labels")}
    refuse_foreground_masks([examine(pair) for pair in pairs(make(folder, *content, content=content))])


MANY = np.minimum(squares(), 1).astype(np.uint8)
ONE = np.zeros_like(MANY)
ONE[20:40, 30:50] = 1
EMPTY = np.zeros_like(MANY)
INSTANCES = squares().astype(np.uint8)
SPECKLED = ONE.copy()
SPECKLED[::9, 80] = 1


@pytest.mark.parametrize("number", [1, 255, 128, 65535])
def test_masks_of_foreground_are_refused_with_the_command_that_numbers_pieces(tmp_path: Path, number: int) -> None:
    masks: list[Array] = [MANY.astype(np.uint16) * number, MANY.T.astype(np.uint16) * number, EMPTY]
    with pytest.raises(
        InvalidDataset, match=rf"0\.png: the only number is {number}, in \d+ separate .*2 of 3 .*--pieces"
    ):
        checked(tmp_path, *masks)


@pytest.mark.parametrize(
    "masks",
    [
        [ONE, ONE.T],
        [ONE],
        [ONE * 255, ONE * 255],
        [SPECKLED],
        [INSTANCES, MANY],
        [ONE, ONE, MANY],
        [EMPTY],
        [INSTANCES],
    ],
    ids=["crops", "one", "one-255", "specks", "one-in-pieces", "few-in-pieces", "empty", "instances"],
)
def test_objects_that_are_alone_in_their_image_pass(tmp_path: Path, masks: list[Array]) -> None:
    checked(tmp_path, *masks)


def test_a_single_mask_of_foreground_among_instances_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"labels/1\.png: the only number is 255, in \d+ separate pieces"):
        checked(tmp_path, INSTANCES, MANY * 255, INSTANCES)


def facts_of(folder: Path, *masks: Array) -> list[Facts]:
    content = {f"{kind}/{n}.png": mask for n, mask in enumerate(masks) for kind in ("images", "labels")}
    return [examine(pair) for pair in pairs(make(folder, *content, content=content))]


def test_one_number_in_pieces_among_instances_gives_a_warning_with_the_file(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, INSTANCES, MANY, INSTANCES)
    refuse_foreground_masks(facts)
    (warning,) = label_warnings(facts)
    assert warning.startswith(
        f"1 of 3 label files have only one number, in several separate pieces: {tmp_path}/labels/1"
    )


SHIFTED = INSTANCES + np.uint8(1)
TILED = (np.arange(96)[:, None] // 24 * 5 + np.arange(120) // 24 + 1).astype(np.uint8)


@pytest.mark.parametrize("masks", [[SHIFTED], [SHIFTED, SHIFTED, INSTANCES], [MANY + np.uint8(1)]])
def test_background_with_a_number_is_refused_with_the_command(tmp_path: Path, masks: list[Array]) -> None:
    zero = "--background 0 " if len(masks) > 1 else ""
    with pytest.raises(
        InvalidDataset, match=rf"0\.png: no pixel is 0; number 1 covers \d\d% .*labels {zero}--background 1 "
    ):
        refuse_numbered_background(facts_of(tmp_path, *masks))


@pytest.mark.parametrize("masks", [[TILED], [TILED, TILED + np.uint8(9)], [SHIFTED, INSTANCES]])
def test_files_without_background_pass_with_a_warning(tmp_path: Path, masks: list[Array]) -> None:
    facts = facts_of(tmp_path, *masks)
    refuse_numbered_background(facts)
    (warning,) = label_warnings(facts)
    assert "label files have no pixel of background, 0: " in warning and "0.png" in warning


def test_masks_of_classes_give_a_warning(tmp_path: Path) -> None:
    classes = MANY.copy()
    classes[:, :60] *= 2
    content = {f"{kind}/{n}.png": classes for n in range(2) for kind in ("images", "labels")}
    facts = [examine(pair) for pair in pairs(make(tmp_path, *content, content=content))]
    refuse_foreground_masks(facts)
    (warning,) = label_warnings(facts)
    assert "classes instead of objects" in warning
    make(tmp_path / "good", "images/a.png", "labels/a.png", content={"labels/a.png": INSTANCES})
    assert label_warnings([examine(pair) for pair in pairs(tmp_path / "good")]) == []


def test_borders_marked_as_255_give_a_warning(tmp_path: Path) -> None:
    bordered = INSTANCES.copy()
    bordered[0] = 255
    content = {f"{kind}/{n}.png": bordered for n in range(3) for kind in ("images", "labels")}
    (warning,) = label_warnings([examine(pair) for pair in pairs(make(tmp_path, *content, content=content))])
    assert "3 of 3 label files have an object 255" in warning and "--background 0 --background 255" in warning


@pytest.mark.parametrize(
    ("files", "where"),
    [
        (("images/a.png", "labels/a.png", "images/deeper/b.png", "images/train/c.png"), "images"),
        (("train/images/a.png", "train/labels/a.png", "train/images/deeper/b.png"), "train/images"),
        (("a.png", "a_masks.png", "deeper/b.png"), ""),
    ],
    ids=["two folders", "splits", "one folder"],
)
def test_images_in_deeper_folders_are_told_of(tmp_path: Path, files: tuple[str, ...], where: str) -> None:
    told: list[str] = []
    assert len(pairs(make(tmp_path, *files), tell=told.append)) == 1
    (line,) = [line for line in told if "subfolders" in line]
    assert line.startswith(f"{tmp_path / where}: subfolders that are not used: deeper/ (1 image)")
    assert ("train/ (1 image)" in line) == (where == "images")
