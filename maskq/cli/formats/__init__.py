"""The files that `maskq run` and `maskq result` can write for an image.

To add a format, write a module that defines its `FORMAT`, and register it in `FORMATS`.
"""

from maskq.producer.client.job import Result

from . import labels, objects, overlay, table
from .result_format import ResultFormat

__all__ = ["FORMATS", "ResultFormat", "UnknownFormat", "for_result", "select"]

#: Every format by its name.
FORMATS = {module.FORMAT.name: module.FORMAT for module in (labels, objects, overlay, table)}
#: The names of the formats if none are chosen. A stack also gets a table.
DEFAULT = "labels,objects,overlay"


class UnknownFormat(ValueError):
    """No result format has this name."""


def select(names: str) -> tuple[ResultFormat, ...]:
    """The formats of comma-separated names, such as `labels,overlay`, each once. Raises `UnknownFormat`."""
    chosen = dict.fromkeys(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in FORMATS:
            raise UnknownFormat(f"unknown format {name!r}; known formats: {', '.join(FORMATS)}")
    return tuple(FORMATS[name] for name in chosen)


def for_result(formats: tuple[ResultFormat, ...], result: Result) -> tuple[ResultFormat, ...]:
    """The formats to write for a result: those chosen and, for a stack, a table if they are the default."""
    return (*formats, FORMATS["table"]) if result.planes and formats == select(DEFAULT) else formats
