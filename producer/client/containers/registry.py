"""Finds the container that a source is, and turns it into the image file and the job options to submit."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ContainerUnavailable, InvalidJob, MaskqError
from ...schema import Options
from . import czi, lif, nd2_file, ome_zarr, slide
from .choice import choose_channels, choose_part, choose_planes, choose_series
from .container import Container
from .request import Request

#: Every container.
CONTAINERS = (ome_zarr.CONTAINER, slide.CONTAINER, czi.CONTAINER, nd2_file.CONTAINER, lif.CONTAINER)
#: The options that a container applies.
_APPLIED = "scene", "level", "resolution", "region"
_TIFF = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
_LONGEST_NAME = 255
_INSTALL = 'pip install "maskq[microscopy]"'


@dataclass(frozen=True)
class Prepared:
    """What to submit in place of a container."""

    image: bytes
    #: The container's name, and what of it was read.
    name: str
    #: The job's options without those that are applied.
    options: Options


def find(source: object, options: Options, max_bytes: int) -> Container | None:
    """The container that is to be read here; None for an image file, which is sent as it is.

    A TIFF file (a path, or bytes) is read here only if the worker can't do what the job asks: to resize it, to find
    tissue, or to read a file larger than `max_bytes`. Workers read the part of `level` and `region` themselves, with
    more kinds of images and with notes. Raises `InvalidJob` if a source that is not read here is to be resized or
    searched for tissue.
    """
    if isinstance(source, str | os.PathLike):
        found = _of_path(os.fspath(source), options, max_bytes)
    else:
        tiff = isinstance(source, bytes) and source.startswith(_TIFF)
        found = slide.CONTAINER if tiff and _needs_reader(options) else None
    if found is None and _needs_reader(options):
        option = "resolution" if options.resolution is not None else "region=tissue"
        raise InvalidJob(
            f"the option {option} is for slides, TIFF and other containers that the client reads: give the path of a "
            "file or folder here, the URL of an OME-Zarr, or the bytes of a TIFF"
        )
    return found


def _of_path(path: str, options: Options, max_bytes: int) -> Container | None:
    lower = path.rstrip("/").lower()
    if "://" in path:  # other files are downloaded, and then sent as they are
        return ome_zarr.CONTAINER if ".zarr/" in lower or lower.endswith(ome_zarr.CONTAINER.suffixes) else None
    for container in CONTAINERS:
        if lower.endswith(container.suffixes):
            return container
    if Path(path).is_dir() and ome_zarr.is_zarr_folder(Path(path)):
        return ome_zarr.CONTAINER
    if lower.endswith(slide.TIFFS) and (_needs_reader(options) or _size(path) > max_bytes):
        return slide.CONTAINER
    return None


def _needs_reader(options: Options) -> bool:
    return options.resolution is not None or options.region == "tissue"


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def prepare(
    container: Container,
    source: Any,
    name: str | None,
    options: Options,
    *,
    max_bytes: int,
    max_pixels: int,
) -> Prepared:
    """Read the part that the options choose, and encode it.

    Raises `InvalidJob`, `PayloadTooLarge`, `ContainerUnavailable` if the reader is not installed, and `OSError`.
    """
    given = io.BytesIO(source) if isinstance(source, bytes) else os.fspath(source)
    name = name or (Path(given.rstrip("/")).name if isinstance(given, str) else "image")
    request = Request(name, options, max_bytes, max_pixels)
    try:
        return _prepare(container, given, request)
    except (MaskqError, MemoryError):
        raise
    except ImportError as error:
        missing = f"{_INSTALL} ({error})" if isinstance(error, ModuleNotFoundError) else str(error)
        raise ContainerUnavailable(
            f"{name}: reading {container.name} takes packages that are not installed: {missing}"
        ) from error
    except Exception as error:  # readers raise nearly anything on damaged files, OSError without a number as well
        if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
            raise
        message = f"{type(error).__name__}: {error}"[:200]
        raise InvalidJob(f"{name}: can't be read as {container.name} ({message})") from error


def _prepare(container: Container, source: Any, request: Request) -> Prepared:
    from .ome_tiff import ome_tiff

    with container.open(source, request) as scenes:
        series, scene = choose_series(scenes, request)
        choose_planes(series, request)  # a missing choice is reported before any pixel is read
        choose_channels(series, request)
        part = choose_part(series, request)
        image = ome_tiff(part, request)
    cleared = dict.fromkeys((*_APPLIED, *container.own_options))
    return Prepared(image, _labelled(request.name, scene, part.label), request.options.model_copy(update=cleared))


def _labelled(name: str, *labels: str) -> str:
    """The name with what was read in brackets; the name is cut if both are too long."""
    shown = ", ".join(filter(None, labels))
    suffix = f" [{shown}]" if shown else ""
    return name.encode("utf-8", "replace").decode()[: _LONGEST_NAME - len(suffix)] + suffix
