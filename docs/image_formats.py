"""Generates the tables of docs/images.md: what becomes of each file in `tests/varieties/files`, by reading it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from maskq.segmentation.errors import ImageError
from maskq.segmentation.images import Image, Stack, read_image
from tests.varieties.expected import FILES, Expected, read_expected

PAGE = Path(__file__).with_name("images.md")
_CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
#: What stands above this line is written by hand.
_MARK = "<!-- make docs writes what follows -->\n"
#: The rest is maskq's own code.
_READERS = {
    "PNG": ("pillow", "imagecodecs"),
    "JPEG": ("pillow",),
    "WebP": ("pillow",),
    "JPEG 2000, JPEG XL and newer": ("imagecodecs",),
    "NumPy": ("numpy",),
    "TIFF": ("tifffile", "imagecodecs"),
}
_OTHERS = "Other formats"
#: What follows the name of the file's kind in an error.
_ADVICE = re.compile(r"[;:] |, (?:which|whose|not a PNG|with 1 of) |\. ")


def page() -> str:
    """The text of docs/images.md: the rules as they are there, and the tables anew."""
    rows = sorted(read_expected(), key=lambda row: (_place(row.format), row.format, row.variety, row.file))
    varieties = len({(row.format, row.variety) for row in rows})
    writers = sorted({row.writer for row in rows if row.writer[-1].isdigit()}, key=str.lower)
    files = f"{len(rows)} files of {varieties} varieties. Written by {', '.join(writers)}, and by hand."
    sections = (_section(name, list(group)) for name, group in groupby(rows, key=lambda row: row.format))
    rules = PAGE.read_text().partition(_MARK)[0]
    return f"{rules}{_MARK}\n{files}\n{''.join(sections)}"


def _place(name: str) -> int:
    """Pictures come first, then TIFF, then formats that are not read."""
    return 2 if name == _OTHERS else name.startswith("TIFF")


def _section(name: str, rows: list[Expected]) -> str:
    libraries = _READERS.get(name.partition(":")[0], ())
    reader = "" if name == _OTHERS else f"Read by {', '.join(map(_pinned, libraries)) or 'maskq itself'}.\n\n"
    varieties = ((variety, list(files)) for variety, files in groupby(rows, key=lambda row: row.variety))
    lines = (f"| {variety} | {'<br>'.join(_outcomes(files))} | {_writers(files)} |\n" for variety, files in varieties)
    return f"\n## {name}\n\n{reader}| variety | what happens | files by |\n|---|---|---|\n{''.join(lines)}"


def _pinned(library: str) -> str:
    """Name and version of a library, as constraints.txt has it."""
    pinned = re.search(rf"^{library}==(\S+)$", _CONSTRAINTS.read_text(), re.MULTILINE)
    return f"{library} {pinned[1]}" if pinned else library


def _writers(rows: Iterable[Expected]) -> str:
    """The writers without their versions."""
    return ", ".join(sorted({re.sub(r" [0-9.]+$", "", row.writer) for row in rows}, key=str.lower))


def _outcomes(rows: Iterable[Expected]) -> Iterator[str]:
    """What becomes of files of one variety; those that differ only in the type of their pixels are one."""
    types: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        before, pixels, after = _outcome(row)
        types.setdefault((before, after), []).append(pixels)
    for (before, after), found in types.items():
        together = ", ".join(dict.fromkeys(found))
        yield f"{before}{f' ({together})' if together else ''}{after}"


def _outcome(row: Expected) -> tuple[str, str, str]:
    """What becomes of a file, in three parts; the second is the type of its pixels."""
    try:
        found = read_image((FILES / row.file).read_bytes(), row.file)
    except ImageError as error:
        kind = _ADVICE.split(str(error).removeprefix(f"{row.file}: "), maxsplit=1)[0]
        return f"refused, `{type(error).__name__}`: {kind}", "", ""
    if isinstance(found, Stack):
        lengths = ", ".join(f"{axis}={length}" for axis, length in zip(found.axes, found.shape, strict=True))
        before, pixels, after = _described(found.read(0))
        return f"stack {lengths} of {before}", pixels, after
    return _described(found)


def _described(image: Image) -> tuple[str, str, str]:
    channels = image.pixels.shape[2]
    kind = f"{channels} separate channels" if image.kind.value == "separate channels" else image.kind.value
    names = f" {', '.join(image.channel_names)}" if image.channel_names else ""
    size = f", pixels of {image.pixel_size[0]:g}×{image.pixel_size[1]:g} µm" if image.pixel_size else ""
    notes = "".join(f". Note: *{re.sub(r'says [2-8]', 'says 2 to 8', note)}*" for note in image.notes)
    return kind + names, str(image.pixels.dtype), size + notes
