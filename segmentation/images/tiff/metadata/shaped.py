"""What tifffile writes: JSON with the shape of each series, and its axes if they are known."""

import json
from math import prod
from typing import Any

from ....errors import TruncatedImage
from ..decoding import PlaneSource
from ..directory import PLANAR, Directory
from ..pages import Pages
from ..scene import Scene, planes_behind, signature

_START = '{"shape":'
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
        scenes.append(scene)
        full = full[len({source.page.offset for source in scene.planes}) :]
    if len(scenes) > 1 and all(len(scene.planes) == 1 for scene in scenes):
        alike = {signature(scene.page, data) for scene in scenes}
        if len(alike) == 1:  # pages written one by one, each with a description of its own
            return [Scene.of_pages(tuple(scene.page for scene in scenes), name)]
    return scenes


def _description(page: Directory, data: bytes) -> str:
    return next((text for text in page.texts(data) if text.startswith(_START) and len(text) <= _MAX_TEXT), "")


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        described = json.loads(text)
        shape = [int(length) for length in described["shape"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return {**described, "shape": shape}


def _scene(described: dict[str, Any], pages: tuple[Directory, ...], data: bytes, name: str) -> Scene | None:
    """The scene of the first of these pages; None if the metadata do not fit them."""
    page = pages[0]
    outer = _outer(described["shape"], page)
    if outer is None or min(outer, default=1) < 1 or page.depth > 1:
        return None
    count = prod(outer)
    axes = described.get("axes")
    if not isinstance(axes, str) or len(axes) != len(described["shape"]) or len(set(axes)) != len(axes):
        axes, outer = (_UNKNOWN, [count])
    axes = axes[: len(outer)]
    if count > 1 and (described.get("truncated") or len(pages) == 1):
        planes = planes_behind(page, count, data, name)
    elif count <= len(pages):
        planes = tuple(PlaneSource(page) for page in pages[:count])
    else:
        raise TruncatedImage(f"{name}: cut short: {len(pages)} of {count:,} planes")
    return Scene(axes, tuple(outer), planes)


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
