"""The list of result formats.

To add one, write a module that defines its `FORMAT`, and list it here. `maskq/__init__.py` registers the overlay, which
reads images and so belongs to a higher floor.
"""

from collections.abc import Iterable

from ..errors import UnknownFormat
from . import coco, geojson, imagej, labels, objects, ome_tiff, ome_zarr, table, yolo
from .result_format import ResultFormat

#: The formats if none are chosen. A stack also gets a table.
DEFAULT = "labels,objects,overlay"
#: Every format by its name.
FORMATS: dict[str, ResultFormat] = {}


def register(result_format: ResultFormat) -> None:
    """Add a format, or replace the one of the same name."""
    FORMATS[result_format.name] = result_format


for module in (labels, objects, table, geojson, coco, yolo, imagej, ome_tiff, ome_zarr):
    register(module.FORMAT)


def find_format(name: str) -> ResultFormat:
    """The format of a name. Raises `UnknownFormat`, which lists the known ones."""
    try:
        return FORMATS[name]
    except KeyError:
        raise UnknownFormat(f"unknown format {name!r}; known formats: {', '.join(FORMATS)}") from None


def select(names: str | Iterable[str]) -> tuple[ResultFormat, ...]:
    """The formats of names, or of comma-separated names such as `labels,geojson`, each once. Raises `UnknownFormat`."""
    separate = names.split(",") if isinstance(names, str) else names
    return tuple(find_format(name) for name in dict.fromkeys(name.strip() for name in separate))


def format_of_file(name: str) -> ResultFormat:
    """The format whose ending a file name has; the longest counts. Raises `UnknownFormat`.

    Of OME's formats, `.ome.tif` is enough, without `.labels` before it.
    """
    endings = {
        ending: result_format
        for result_format in FORMATS.values()
        for ending in (*result_format.media_types, result_format.folder_ending)
        if ending and name.lower().endswith(ending.replace(".labels.ome", ".ome"))
    }
    if not endings:
        raise UnknownFormat(f"{name} has no ending of a format: name the format, one of {', '.join(FORMATS)}")
    return endings[max(endings, key=len)]
