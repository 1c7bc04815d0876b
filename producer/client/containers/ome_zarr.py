"""OME-Zarr: OME-NGFF 0.1 to 0.5 in Zarr v2 and v3, a folder, a zip file or any fsspec URL; and bare Zarr arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any

from ...errors import InvalidJob
from .container import Container
from .planes import read_plane
from .request import Request
from .series import Box, Index, Series
from .units import micrometres

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

_ZIPPED = (".zip", ".ozx")
#: Images, wells or labels that a message lists.
_LISTED = 8


@contextmanager
def open_zarr(path: str, request: Request) -> Iterator[Sequence[Series]]:
    """The image at the path; of a bioformats2raw layout, all of its images if one of them is chosen."""
    import zarr

    node = zarr.open(_store(path), mode="r")
    try:
        if isinstance(node, zarr.Array):
            yield [_bare(node, request)]
        else:
            yield [_image(group, request) for group in _images(node, path, request)]
    finally:
        node.store.close()


def _store(path: str) -> Any:
    from zarr import storage

    if "://" in path:
        return storage.FsspecStore.from_url(path, read_only=True)
    if path.lower().endswith(_ZIPPED):
        return storage.ZipStore(path, mode="r")
    return storage.LocalStore(path, read_only=True)


def _metadata(group: zarr.Group) -> Mapping[str, Any]:
    """The OME metadata: under `ome` since version 0.5, at the top before."""
    attributes = group.attrs.asdict()
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def _images(group: zarr.Group, path: str, request: Request) -> list[zarr.Group]:
    """The group itself if it is an image, or the images of a bioformats2raw layout. Raises `InvalidJob` for others."""
    found, name = _metadata(group), request.name
    if "image-label" in found:
        raise InvalidJob(f"{name}: labels, not an image; give the path of the image that they belong to")
    if "multiscales" in found:
        return [group]
    if "plate" in found:
        wells = [well["path"] for well in found["plate"].get("wells", [])]
        raise InvalidJob(f"{name}: a plate of {_counted(wells, 'well')}; give an image: {_paths(path, wells, '/0')}")
    if "well" in found:
        fields = [field["path"] for field in found["well"].get("images", [])]
        raise InvalidJob(f"{name}: a well of {_counted(fields, 'image')}; give one of them: {_paths(path, fields)}")
    if "labels" in found:
        raise InvalidJob(f"{name}: a group of labels ({', '.join(found['labels'])}), not an image")
    return _bioformats2raw(group, path, request)


def _bioformats2raw(group: zarr.Group, path: str, request: Request) -> list[zarr.Group]:
    import zarr

    if "bioformats2raw.layout" not in _metadata(group):
        raise InvalidJob(f"{request.name}: a Zarr group without OME metadata of an image; give the path of an image")
    listed = _metadata(group["OME"]).get("series") if "OME" in group else None  # type: ignore[arg-type]
    paths = listed or list(takewhile(lambda number: number in group, map(str, count())))
    if request.options.scene is None and len(paths) > 1:
        raise InvalidJob(
            f"{request.name}: {len(paths)} images, choose one with the option scene, or give its path: "
            f"{_paths(path, paths)}"
        )
    images = [group[one] for one in paths]
    return [image for image in images if isinstance(image, zarr.Group)]


def _counted(found: list[str], noun: str) -> str:
    return f"{len(found)} {noun}{'s' * (len(found) != 1)}"


def _paths(path: str, inside: Sequence[str], suffix: str = "") -> str:
    shown = [f"{path.rstrip('/')}/{one}{suffix}" for one in inside[:_LISTED]]
    return ", ".join(shown) + (" …" if len(inside) > _LISTED else "")


def _image(group: zarr.Group, request: Request) -> Series:
    import zarr

    found = _metadata(group)
    multiscale = found["multiscales"][0]
    names, units = _axes(multiscale)
    if request.options.axes not in (None, names):
        raise InvalidJob(f"{request.name}: its metadata name the axes {names}; leave the option axes out")
    levels = [group[dataset["path"]] for dataset in multiscale["datasets"]]
    arrays = [level for level in levels if isinstance(level, zarr.Array)]
    labels = [str(channel.get("label", "")) for channel in found.get("omero", {}).get("channels", [])]
    size = _pixel_size(multiscale, names, units)
    return _series(arrays, names, request, name=multiscale.get("name") or "", channels=labels, pixel_size=size)


def _axes(multiscale: Mapping[str, Any]) -> tuple[str, list[str | None]]:
    """The axes as letters such as `TCZYX`, and their units; before version 0.3, the specification fixes them."""
    axes = multiscale.get("axes") or list("tczyx")
    described = [axis if isinstance(axis, dict) else {"name": axis} for axis in axes]
    names = [str(axis["name"]).upper() for axis in described]
    return "".join(name if len(name) == 1 else "?" for name in names), [axis.get("unit") for axis in described]


def _pixel_size(multiscale: Mapping[str, Any], axes: str, units: Sequence[str | None]) -> tuple[float, float] | None:
    """Height and width of a pixel of the first level: the product of both scales; None without a unit of length."""
    scale = [1.0] * len(axes)
    for described in (multiscale["datasets"][0], multiscale):
        for transformation in described.get("coordinateTransformations", []):
            if transformation.get("type") == "scale":
                scale = [a * float(b) for a, b in zip(scale, transformation["scale"], strict=True)]
    height, width = (micrometres(scale[axes.index(axis)], units[axes.index(axis)]) for axis in "YX")
    return (height, width) if height and width else None


def _bare(array: zarr.Array[Any], request: Request) -> Series:
    """A Zarr array without OME metadata: its axes are its dimension names, or the option axes."""
    names = [str(name).upper() for name in getattr(array.metadata, "dimension_names", None) or ()]
    known = "".join(names) if names and all(len(name) == 1 for name in names) else ""
    axes = request.options.axes or known or ("YX" if array.ndim == 2 else "")
    if len(axes) != array.ndim:
        raise InvalidJob(
            f"{request.name}: a Zarr array of shape {array.shape} without OME metadata; give the option axes, one "
            f"letter of T, Z, C, Y, X, S for each dimension{f', not {axes}' if axes else ''}"
        )
    return _series([array], axes, request)


def _series(
    arrays: Sequence[zarr.Array[Any]],
    axes: str,
    request: Request,
    *,
    name: str = "",
    channels: Sequence[str] = (),
    pixel_size: tuple[float, float] | None = None,
) -> Series:
    first = arrays[0]
    if len(axes) == first.ndim and "C" not in axes and "S" in axes and first.shape[axes.index("S")] not in (3, 4):
        axes = axes.replace("S", "C")  # samples that can't be colours
    if len(axes) != first.ndim or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise InvalidJob(f"{request.name}: an array of shape {first.shape} with the axes {axes}")
    lengths = dict(zip(axes, first.shape, strict=True))
    if other := [axis for axis, length in lengths.items() if axis not in "TZCYXS" and length > 1]:
        raise InvalidJob(f"{request.name}: the axis {other[0]} of length {lengths[other[0]]} is not read")
    planes = {axis: lengths[axis] for axis in "TZC" if axis in lengths}

    def same_planes(array: zarr.Array[Any]) -> bool:  # levels that are also reduced along T, Z or C have other planes
        found = dict(zip(axes, array.shape, strict=True))
        return all(found[axis] == length for axis, length in planes.items())

    levels = list(takewhile(same_planes, arrays))

    def read(level: int, index: Index, box: Box) -> NDArray[Any]:
        return read_plane(levels[level], axes, index, box)

    return Series(
        name=name,
        axes=planes,
        levels=tuple((array.shape[axes.index("Y")], array.shape[axes.index("X")]) for array in levels),
        dtype=first.dtype,
        read=read,
        samples=lengths.get("S", 1),
        channels=tuple(channels) if len(channels) == lengths.get("C", 1) else (),
        pixel_size=pixel_size,
    )


def is_zarr_folder(path: Any) -> bool:
    """Whether a folder holds a Zarr group or array, whatever its name."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray", ".zattrs"))


CONTAINER = Container("OME-Zarr", (".zarr", ".zarr.zip", ".ozx"), open_zarr, frozenset({"axes"}))
