"""What tifffile writes: JSON with the shape of each series, and its axes if they are known."""

import json
import re
from math import prod
from typing import Any

from ....errors import TruncatedImage
from ..decoding import PlaneSource
from ..directory import PLANAR, Directory
from ..pages import Pages
from ..scene import Scene, planes_behind, signature
from .sample_axes import channels_last, scene_of_axes

_START = '{"shape":'
#: What versions of tifffile before 2015 wrote.
_OLD = re.compile(r"shape=\(([0-9]+(?:, ?[0-9]+)*),?\)\s*")
_MAX_TEXT, _MAX_ALL_TEXTS = 1 << 16, 1 << 22
#: The axis of planes that the metadata do not name, as in tifffile.
_UNKNOWN = "Q"


def read(data: bytes, pages: Pages, name: str) -> list[Scene] | None:
    """The series of a file by tifffile, in order. Raises `TruncatedImage` if planes are missing."""
    full, scenes, size = pages.full, [], 0
    while full:
        text = _description(full[0], data)
        size += len(text)
        if size > _MAX_ALL_TEXTS:
            return None
        described = _parsed(text) if text else None
        scene = _scene(described, full, data, name) if described else None
        if scene is None:
            return None
        scenes.append(scene[0])
        full = full[scene[1] :]
    if len(scenes) > 1 and all(len(scene.planes) == 1 for scene in scenes):
        alike = {signature(scene.page, data) for scene in scenes}
        if len(alike) == 1:  # pages written one by one, each with a description of its own
            return [Scene.of_pages(tuple(scene.page for scene in scenes), name)]
    return scenes


def _description(page: Directory, data: bytes) -> str:
    texts = (text for text in page.texts(data) if len(text) <= _MAX_TEXT)
    return next((text for text in texts if text.startswith(_START) or _OLD.fullmatch(text)), "")


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        if old := _OLD.fullmatch(text):
            return {"shape": [int(length) for length in old[1].split(",")]}
        described = json.loads(text)
        shape = [int(length) for length in described["shape"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return {**described, "shape": shape}


def _scene(described: dict[str, Any], pages: tuple[Directory, ...], data: bytes, name: str) -> tuple[Scene, int] | None:
    """The scene of the first of these pages, and how many they are; None if the metadata do not fit them."""
    page, shape, axes = pages[0], described["shape"], _axes(described)
    outer = _outer(shape, page)
    if outer is None or min(outer, default=1) < 1 or page.depth > 1:
        return None
    count = prod(outer)
    if count > 1 and (described.get("truncated") or len(pages) == 1):
        used, planes = 1, planes_behind(page, count, data, name)
    elif count <= len(pages):
        used, planes = count, tuple(PlaneSource(page) for page in pages[:count])
    else:
        raise TruncatedImage(f"{name}: cut short: {len(pages)} of {count:,} planes; copy or save it again")
    if axes is None:
        return Scene(_UNKNOWN, (count,), planes), used
    if not {"Y", "X"}.isdisjoint(axes[: len(outer)]):
        return channels_last(axes, shape, planes, data, name), used
    return scene_of_axes(axes[: len(outer)], tuple(outer), planes, axes[len(outer) :], name), used


def _axes(described: dict[str, Any]) -> str | None:
    """A different letter for each length, if the metadata have them."""
    axes = described.get("axes")
    if isinstance(axes, str) and len(axes) == len(described["shape"]) == len(set(axes)):
        return axes
    return None


def _outer(shape: list[int], page: Directory) -> list[int] | None:
    """The lengths of the axes outside the page; None if the shape does not end as the page's own."""
    height, width = page.size
    if page.samples == 1:
        inner = [[height, width, 1], [height, width]]
    elif page.tags.get(PLANAR, 1) == 1:
        inner = [[height, width, page.samples]]
    else:
        inner = [[page.samples, height, width]]
    for end in inner:
        if shape[-len(end) :] == end:
            return shape[: -len(end)]
    return None
