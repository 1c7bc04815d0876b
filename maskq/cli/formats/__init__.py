"""The files that `maskq run` and `maskq result` can write for an image.

To add a format, write a module that defines its `FORMAT`, and register it in `FORMATS`.
"""

from . import labels, objects, overlay
from .result_format import ResultFormat

__all__ = ["FORMATS", "ResultFormat", "UnknownFormat", "select"]

#: Every format by its name.
FORMATS = {module.FORMAT.name: module.FORMAT for module in (labels, objects, overlay)}


class UnknownFormat(ValueError):
    """No result format has this name."""


def select(names: str) -> tuple[ResultFormat, ...]:
    """The formats of comma-separated names, such as `labels,overlay`, each once. Raises `UnknownFormat`."""
    chosen = dict.fromkeys(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in FORMATS:
            raise UnknownFormat(f"unknown format {name!r}; known formats: {', '.join(FORMATS)}")
    return tuple(FORMATS[name] for name in chosen)
