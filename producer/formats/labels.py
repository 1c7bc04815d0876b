"""Labels: a 16-bit PNG, or a 32-bit TIFF beyond 65,535 objects; a stack as a TIFF with a page per plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .result_format import FormatOptions, ResultFormat

if TYPE_CHECKING:
    from ..client.job import Result


def ending(result: Result) -> str:
    """The ending for the label file that the worker stored."""
    return ".labels.png" if result.label_file.startswith(b"\x89PNG") else ".labels.tif"


def chunks(result: Result, options: FormatOptions) -> Iterator[bytes]:
    """The label file as the worker stored it."""
    yield result.label_file


FORMAT = ResultFormat(
    "labels", "label image", {".labels.png": "image/png", ".labels.tif": "image/tiff"}, chunks, choose_ending=ending
)
