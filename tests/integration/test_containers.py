"""Containers through real workers: the client reads them, and the labels are those of the same pixels in a PNG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from maskq import Client, Options, Settings
from maskq.workers.local.stack import Stack, running
from tests.conftest import png
from tests.container_files import write_ome_zarr, write_svs

COINS = np.ascontiguousarray(data.coins()[:96, :128])  # type: ignore[no-untyped-call]
#: Thresholds so low that every image has objects, whatever the model learned.
ANYTHING = {"seed_threshold": 0.5, "min_pixels": 5}
WAIT_S = 120


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running(Settings(devices="cpu", cluster_processes=1)) as stack:
        yield stack


def test_a_channel_of_an_ome_zarr(client: Client, tmp_path: Path) -> None:
    stains = np.stack([COINS[::-1], COINS]).astype(np.uint16) * 16
    path = write_ome_zarr(tmp_path / "coins.ome.zarr", stains, "cyx", channels=("other", "coins"))
    expected = client.submit(stains[1], options=Options(**ANYTHING)).wait(WAIT_S)
    result = client.submit(path, options=Options(channels="coins", **ANYTHING)).wait(WAIT_S)
    assert result.objects
    assert np.array_equal(result.labels, expected.labels)
    assert result.channels == ("2 (coins)",)
    assert result.pixel_size == (0.5, 0.5)
    assert result.job.spec.name == "coins.ome.zarr"


def test_a_stack_of_an_ome_zarr(client: Client, tmp_path: Path) -> None:
    planes = np.stack([COINS, COINS[::-1], COINS[:, ::-1]])
    path = write_ome_zarr(tmp_path / "coins.ome.zarr", planes, "zyx", levels=1)
    result = client.submit(path, options=Options(planes="2-3", **ANYTHING)).wait(WAIT_S)
    assert (result.axes, result.planes) == ("ZYX", (2, 3))
    for labels, plane in zip(result.labels, planes[1:], strict=True):
        expected = client.submit(png(plane), options=Options(**ANYTHING)).wait(WAIT_S)
        assert np.array_equal(labels > 0, expected.labels > 0)


def test_a_region_of_a_level_of_a_slide(client: Client, tmp_path: Path) -> None:
    slide = np.repeat(np.kron(COINS, np.ones((4, 4), np.uint8))[..., None], 3, axis=2)
    slide[..., 1] //= 2
    path = write_svs(tmp_path / "slide.svs", slide)
    options = Options(level=1, region=(128, 64, 256, 256), **ANYTHING)
    result = client.submit(path, options=options).wait(WAIT_S)
    expected = client.submit(png(slide[64:320:4, 128:384:4]), options=Options(**ANYTHING)).wait(WAIT_S)
    assert result.objects
    assert np.array_equal(result.labels, expected.labels)
    assert result.size == (64, 64)
    assert result.pixel_size == (2.0, 2.0)
    assert result.job.spec.name == "slide.svs [level 1, x=128 y=64 w=256 h=256]"
