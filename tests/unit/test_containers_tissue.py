"""Where tissue is found on a slide, and where none is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from maskq import InvalidJob
from maskq.producer.client.containers.tissue import opened, otsu, tissue_mask
from tests.container_files import slide_picture, write_ome_zarr, write_svs
from tests.containers import Sent


def test_the_region_is_the_tissue_with_a_margin(tmp_path: Path) -> None:
    sent = Sent(write_svs(tmp_path / "a.svs", slide_picture()), region="tissue")
    assert sent.spec.name == "a.svs [tissue, x=484 y=234 w=832 h=532]"  # the ellipse is x 500 to 1300, y 250 to 750
    assert sent.pixels.shape == (532, 832, 3)


def test_pale_tissue_belongs_to_it(tmp_path: Path) -> None:
    picture = slide_picture()
    picture[100:200, 100:400] = (240, 205, 225)
    assert "x=84 y=84" in Sent(write_svs(tmp_path / "a.svs", picture), region="tissue").spec.name


def test_dust_and_black_padding_do_not(tmp_path: Path) -> None:
    picture = slide_picture()
    picture[:40] = 0
    picture[900, 1500] = (255, 0, 0)
    name = Sent(write_svs(tmp_path / "a.svs", picture), region="tissue").spec.name
    assert name == "a.svs [tissue, x=484 y=234 w=832 h=532]"


def test_a_slide_without_tissue_is_refused(tmp_path: Path) -> None:
    blank = np.random.default_rng(0).integers(238, 248, (600, 800, 1), dtype=np.uint8)
    blank = np.repeat(blank, 3, axis=2) + np.random.default_rng(1).integers(0, 4, (600, 800, 3), dtype=np.uint8)
    with pytest.raises(InvalidJob, match=r"no tissue was found; give the option region as x, y, width and height"):
        Sent(write_svs(tmp_path / "a.svs", blank), region="tissue")


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_tissue_in_fluorescence(tmp_path: Path, seed: int) -> None:
    noise = np.random.default_rng(seed).poisson(100, (300, 400)).astype(np.uint16)
    path = write_ome_zarr(tmp_path / "a.zarr", noise, "yx")
    with pytest.raises(InvalidJob, match="no tissue"):
        Sent(path, region="tissue")


def test_bright_tissue_is_found_in_a_channel(tmp_path: Path) -> None:
    stains = np.random.default_rng(0).poisson(100, (2, 300, 400)).astype(np.uint16)
    stains[1, 100:200, 50:250] += np.random.default_rng(1).integers(400, 4000, (100, 200), dtype=np.uint16)
    sent = Sent(write_ome_zarr(tmp_path / "a.zarr", stains, "cyx"), region="tissue", channels=2)
    assert sent.spec.name == "a.zarr [tissue, x=46 y=96 w=208 h=108]"


def nuclei(count: int) -> NDArray[Any]:
    """(300, 400) uint16 of soft discs of different light."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:300, :400]
    field = np.zeros((300, 400))
    for _ in range(count):
        row, column, bright = random.uniform(0, 300), random.uniform(0, 400), random.uniform(50, 300)
        field = np.maximum(field, bright * np.exp(-((((y - row) ** 2 + (x - column) ** 2) / 60) ** 2)))
    return random.poisson(field + 20).astype(np.uint16)


def test_a_field_full_of_nuclei_is_all_tissue(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, nuclei(600))
    assert Sent(path, region="tissue").spec.name == "plain.tif [tissue, x=0 y=0 w=400 h=300]"


def test_uneven_light_without_objects_is_no_tissue() -> None:
    y, x = np.mgrid[:300, :400]
    light = 100 * (1 - 0.5 * ((x - 200) ** 2 + (y - 150) ** 2) / 62_500)
    field = np.random.default_rng(0).poisson(light).astype(np.float32)
    assert not tissue_mask(field).any()


def test_otsu_splits_two_classes() -> None:
    values = np.concatenate([np.full(900, 10.0), np.full(100, 50.0)])
    assert 10 < otsu(values) < 50


def test_opening_drops_what_a_square_does_not_fit_into() -> None:
    mask = np.zeros((12, 12), bool)
    mask[2:5, 2:5] = mask[8:10, 8:12] = mask[0, 9] = True
    assert np.argwhere(opened(mask)).tolist() == [[y, x] for y in (2, 3, 4) for x in (2, 3, 4)]
