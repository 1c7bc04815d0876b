"""Files, folders and globs, and the names of their results."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskq import InvalidJob
from maskq.producer.client.paths import expand, result_names, skipped, without_part


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.TIF", "c.npy", "notes.txt", "deep/d.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_a_folder_means_its_images_in_order_without_subfolders(folder: Path) -> None:
    assert [path.name for path in expand([str(folder)])] == ["a.TIF", "b.png", "c.npy"]


def test_a_glob_means_its_matches(folder: Path) -> None:
    assert [path.name for path in expand([f"{folder}/*.p*"])] == ["b.png"]
    assert [path.name for path in expand([f"{folder}/**/*.jpg"])] == ["d.jpg"]


def test_a_listed_file_may_have_any_name_and_each_file_comes_once(folder: Path) -> None:
    paths = [f"{folder}/notes.txt", f"{folder}/b.png", f"{folder}/*.png"]
    assert [path.name for path in expand(paths)] == ["notes.txt", "b.png"]


def test_a_name_that_looks_like_a_glob_is_a_file_if_it_exists(folder: Path) -> None:
    (folder / "cells[1].png").touch()
    assert [path.name for path in expand([f"{folder}/cells[1].png"])] == ["cells[1].png"]


@pytest.mark.parametrize("missing", ["nowhere.png", "*.webp", "empty"])
def test_a_path_without_images_is_an_error_with_its_name(folder: Path, missing: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InvalidJob) as raised:
        expand([str(folder / "b.png"), str(folder / missing)])
    assert str(folder / missing) in str(raised.value)


def test_a_zarr_folder_is_one_image(folder: Path) -> None:
    for name in ("e.ome.zarr/0/.zarray", "f/zarr.json", "deep/g.zarr/zarr.json"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    assert [path.name for path in expand([str(folder)])] == ["a.TIF", "b.png", "c.npy", "e.ome.zarr"]
    assert expand([f"{folder}/e.ome.zarr", f"{folder}/f", f"{folder}/deep/*.zarr"]) == [
        folder / "e.ome.zarr",
        folder / "f",
        folder / "deep" / "g.zarr",
    ]


def test_containers_are_images_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.svs", "b.NDPI", "c.scn", "d.czi", "e.nd2", "f.lif", "g.jp2", "h.jxl", "i.xml"):
        (tmp_path / name).touch()
    assert [path.name[0] for path in expand([str(tmp_path)])] == list("abcdefgh")


def test_a_url_is_one_image_named_by_its_path() -> None:
    urls = ["s3://bucket/plates/x.ome.zarr", "https://host/cells.png?token=a/b"]
    images = expand(urls)
    assert list(map(str, images)) == urls
    assert list(result_names(images).values()) == ["x.ome", "cells"]


def test_a_jobs_name_without_the_part_that_was_read() -> None:
    assert without_part("slide.svs [level 1, x=0 y=0 w=9 h=9]") == "slide.svs"
    assert without_part("cells[1].png") == "cells[1].png"


def test_results_are_named_by_the_stem() -> None:
    assert list(result_names([Path("x/a.png"), Path("x/b.tar.tif")]).values()) == ["a", "b.tar"]


def test_images_that_share_a_stem_keep_their_suffix_then_get_a_number() -> None:
    paths = [Path("x/a.png"), Path("x/a.tif"), Path("y/a.png"), Path("z/a.png.bmp")]
    assert result_names(paths) == dict(zip(paths, ["a.png", "a.tif", "a.png-2", "a.png-3"], strict=True))


def test_subfolders_are_searched_if_that_is_asked_for(folder: Path) -> None:
    (folder / "deep" / ".cache").mkdir()
    (folder / "deep" / ".cache" / "thumb.png").touch()
    names = [str(path).removeprefix(f"{folder}/") for path in expand([str(folder)], recursive=True)]
    assert names == ["a.TIF", "b.png", "c.npy", "deep/d.jpg"]
    assert [path.name for path in skipped([str(folder)])] == ["deep", "notes.txt"]
    assert [path.name for path in skipped([str(folder)], recursive=True)] == ["notes.txt"]


def test_a_folder_with_images_in_its_subfolders_only_says_so(tmp_path: Path) -> None:
    (tmp_path / "plate").mkdir()
    (tmp_path / "plate" / "a.png").touch()
    with pytest.raises(InvalidJob, match="1 in its subfolders: use --recursive"):
        expand([str(tmp_path)])


def test_own_outputs_and_what_editors_leave_are_no_images(folder: Path) -> None:
    own = ("b.labels.png", "b.labels.tif", "b.overlay.png", "b.json")
    for name in (*own, "._b.png", ".b.png.swp", "b.png~", "#b.png#", "~$b.tif", ".DS_Store", "Thumbs.db"):
        (folder / name).touch()
    assert [path.name for path in expand([str(folder)])] == ["a.TIF", "b.png", "c.npy"]
    assert [path.name for path in expand([f"{folder}/*.png"])] == ["b.png"]
    assert expand([f"{folder}/b.labels.png"]) == [folder / "b.labels.png"]
    assert {*own, "b.png~", "#b.png#", "~$b.tif", "Thumbs.db"} < {path.name for path in skipped([str(folder)])}
