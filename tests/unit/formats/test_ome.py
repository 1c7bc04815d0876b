"""OME-TIFF and OME-Zarr labels, read with tifffile, ome-types, zarr, ome-zarr-py and its models."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05 import Image

from maskq import FormatNotApplicable, Result
from maskq.producer.formats.pyramid import Pyramid
from tests.results import result_of, stack_result

from .images import example

MICROMETRES = (0.5, 0.25)


def large(factor: int = 1) -> NDArray[np.int32]:
    """Labels of 1,200 x 700 pixels: three levels."""
    labels = np.zeros((1200, 700), np.int32)
    labels[5:1100, 10:600] = 1
    labels[300:900, 200:500] = 2
    labels[1199, 699] = 3
    return labels * factor


def shaped(axes: str, shape: tuple[int, ...], planes: NDArray[np.int32]) -> Result:
    numbers = tuple(range(1, len(planes) + 1))
    return replace(stack_result(planes), axes=axes, shape=shape, planes=numbers, pixel_size=MICROMETRES)


def read_tiff(data: bytes) -> tuple[tifffile.TiffPageSeries, list[NDArray[Any]], Any]:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        assert tiff.is_ome and tiff.ome_metadata and tiff.pages.first.is_tiled
        (series,) = tiff.series
        return series, [level.asarray() for level in series.levels], ome_types.from_xml(tiff.ome_metadata).images[0]


@pytest.mark.parametrize(("factor", "kind"), [(1, "uint16"), (40_000, "int32")])
def test_an_ome_tiff_is_a_pyramid_of_nearest_neighbours(factor: int, kind: str) -> None:
    labels = large(factor)
    result = replace(result_of(labels, described=False), pixel_size=MICROMETRES)
    series, levels, image = read_tiff(result.to("ome-tiff"))
    assert series.axes == "YX" and series.dtype == np.dtype(kind)
    assert [level.shape for level in levels] == [(1200, 700), (600, 350), (300, 175)]
    for number, level in enumerate(levels):
        assert np.array_equal(level, labels[:: 2**number, :: 2**number])
    pixels = image.pixels
    assert (pixels.physical_size_y, pixels.physical_size_x) == MICROMETRES
    assert (pixels.size_y, pixels.size_x, image.name) == (1200, 700, "cells.png")
    assert pixels.physical_size_x_unit.value == "µm"


@pytest.mark.parametrize(("axes", "shape"), [("ZYX", (4,)), ("TYX", (4,)), ("TZYX", (2, 2))])
def test_an_ome_tiff_has_the_planes_of_a_stack(axes: str, shape: tuple[int, ...]) -> None:
    planes = np.stack([example(), example()[::-1], 0 * example(), example()[:, ::-1]])
    series, (level,), image = read_tiff(shaped(axes, shape, planes).to("ome-tiff"))
    assert series.axes == axes
    assert np.array_equal(level.reshape(planes.shape), planes)
    sizes = dict(zip(axes, (*shape, 20, 30), strict=True))
    assert (image.pixels.size_z, image.pixels.size_t) == (sizes.get("Z", 1), sizes.get("T", 1))


def test_a_pyramid_of_a_stack_keeps_its_planes() -> None:
    planes = np.stack([large(), large()[::-1], large()[:, ::-1]])
    _, levels, _ = read_tiff(shaped("ZYX", (3,), planes).to("ome-tiff"))
    assert len(levels) == 3 and all(
        np.array_equal(level, planes[:, :: 2**number, :: 2**number]) for number, level in enumerate(levels)
    )


def test_other_axes_have_no_ome_tiff() -> None:
    with pytest.raises(FormatNotApplicable, match="this stack has I"):
        shaped("IYX", (2,), np.stack([example()] * 2)).to("ome-tiff")


def test_equal_labels_give_equal_files() -> None:
    assert result_of(example()).to("ome-tiff") == result_of(example()).to("ome-tiff")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("axes", ["YX", "ZYX", "TZYX"])
def test_an_ome_zarr_is_read_by_ome_zarr_py_and_valid(
    axes: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if axes == "YX":
        array = large()
        result = replace(result_of(array), pixel_size=MICROMETRES)
    else:
        shape = (2,) if axes == "ZYX" else (1, 2)
        array = np.stack([large(), large()[::-1]]).reshape(*shape, 1200, 700)
        result = shaped(axes, shape, array.reshape(-1, 1200, 700))
    path = result.save(tmp_path / "cells.ome.zarr")
    group = zarr.open_group(path, mode="r")
    assert Image.from_zarr(group).ome_attributes.version == "0.5"
    location = parse_url(path)
    assert location is not None
    with caplog.at_level(logging.ERROR):
        (node,) = Reader(location)()
    assert not caplog.records
    assert [spec.__class__.__name__ for spec in node.specs] == ["Label", "Multiscales"]
    assert [axis["name"] for axis in node.metadata["axes"]] == list(axes.lower())
    assert [level.dtype.name for level in node.data] == ["uint16"] * 3
    for number, (level, transformation) in enumerate(
        zip(node.data, node.metadata["coordinateTransformations"], strict=True)
    ):
        assert np.array_equal(level.compute(), array[..., :: 2**number, :: 2**number])
        (scale,) = transformation
        assert scale["scale"] == [*[1.0] * (len(axes) - 2), 0.5 * 2**number, 0.25 * 2**number]
        stored = json.loads((path / str(number) / "zarr.json").read_text())
        assert stored["zarr_format"] == 3 and stored["dimension_names"] == list(axes.lower())


def test_the_zip_is_the_folder(tmp_path: Path) -> None:
    result = result_of(example())
    with zipfile.ZipFile(io.BytesIO(result.to("ome-zarr"))) as archive:
        archive.extractall(tmp_path)
    array = zarr.open_array(tmp_path / "labels.ome.zarr" / "0", mode="r")
    assert np.array_equal(array[:], example())
    assert result.save(tmp_path / "a.ome.zarr.zip", "ome-zarr").read_bytes() == result.to("ome-zarr")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = result_of(example())
    path = result.save(tmp_path / "cells.ome.zarr")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Pyramid, "planes", fail)
    with pytest.raises(OSError, match="disk full"):
        result.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["cells.ome.zarr"]
    assert np.array_equal(zarr.open_array(path / "0", mode="r")[:], example())
