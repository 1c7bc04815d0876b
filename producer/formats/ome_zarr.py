"""OME-Zarr 0.5 on Zarr 3: labels in chunks, with a pyramid of nearest neighbours and the pixel size.

On disk it is a folder, over HTTP a zip of it. The group is a multiscale image that is marked as labels, which napari
and ome-zarr-py open as a labels layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .archive import zip_chunks
from .pyramid import TILE, Pyramid
from .result_format import FormatOptions, ResultFormat

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer
    from zarr.storage import MemoryStore

    from ..client.job import Result

_VERSION = "0.5"
_KINDS = {"T": "time", "Z": "space", "Y": "space", "X": "space"}


def chunks(result: Result, options: FormatOptions) -> Iterator[bytes]:
    """The folder as a zip, in which it is named `labels.ome.zarr`. It is made in memory, compressed."""
    from zarr.storage import MemoryStore

    files: dict[str, Buffer] = {}
    _write(result, MemoryStore(files))
    entries = ((f"labels.ome.zarr/{name}", files[name].to_bytes()) for name in sorted(files))
    yield from zip_chunks(entries, compress=False)


def write_folder(result: Result, path: Path, options: FormatOptions) -> None:
    """Write the group into a folder."""
    _write(result, str(path))


def _write(result: Result, store: str | MemoryStore) -> None:
    import zarr

    pyramid = Pyramid(result)
    attributes: dict[str, Any] = {"ome": _metadata(result, pyramid.levels)}
    group = zarr.open_group(store, mode="w", zarr_format=3, attributes=attributes)
    planes_chunk = (1,) * len(result.shape)
    for level in range(pyramid.levels):
        size = pyramid.size(level)
        array = group.create_array(
            str(level),
            shape=(*result.shape, *size),
            chunks=(*planes_chunk, *(min(TILE, max(1, side)) for side in size)),
            dtype=pyramid.dtype,
            fill_value=0,
            dimension_names=list(result.axes.lower()),
        )
        for index, plane in zip(_indices(result), pyramid.planes(level), strict=True):
            array[index] = plane


def _indices(result: Result) -> Iterator[tuple[int, ...]]:
    """The index of each plane in the array."""
    import numpy as np

    yield from np.ndindex(result.shape)


def _metadata(result: Result, count: int) -> dict[str, Any]:
    axes: list[dict[str, str]] = []
    scale = [1.0] * len(result.axes)
    for number, axis in enumerate(result.axes):
        axes.append({"name": axis.lower(), **({"type": _KINDS[axis]} if axis in _KINDS else {})})
        if result.pixel_size and axis in "YX":
            axes[-1]["unit"] = "micrometer"
            scale[number] = result.pixel_size["YX".index(axis)]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [*scale[:-2], *(s * 2**level for s in scale[-2:])]}
            ],
        }
        for level in range(count)
    ]
    name = result.job.spec.name
    multiscale = {"name": name, "axes": axes, "datasets": datasets, "type": "nearest"}
    return {"version": _VERSION, "multiscales": [multiscale], "image-label": {}}


FORMAT = ResultFormat(
    "ome-zarr",
    "OME-Zarr label pyramid",
    {".labels.ome.zarr.zip": "application/zip"},
    chunks,
    packages=("zarr",),
    write_folder=write_folder,
    folder_ending=".labels.ome.zarr",
)
