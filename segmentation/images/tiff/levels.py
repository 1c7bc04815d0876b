"""The levels of a pyramid: reduced copies of a scene, in subdirectories or as pages."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...errors import InapplicableOption
from ..image import View
from .decoding import PlaneSource
from .directory import BITS, SUB_DIRECTORIES, Directory
from .pages import Pages, subdirectories
from .scene import Scene

#: Pixels by which a level's height or width may differ from the exact part of the full image: sizes are rounded.
_ROUNDING = 2
#: Part by which a level's pixel size may differ from the resolution that a job asks for: nothing is resized here.
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Level:
    """One level."""

    scene: Scene
    #: Height and width, pixels.
    size: tuple[int, int]


def levels_of(scene: Scene, pages: Pages, others: Iterable[Directory], data: bytes, name: str) -> list[Level]:
    """The scene in full size, then its reduced copies, the largest first; `others` are pages that may be copies."""
    found: dict[tuple[int, int], tuple[PlaneSource, ...]] = {}
    by_size: defaultdict[tuple[int, int], list[Directory]] = defaultdict(list)
    for page in (*pages.reduced, *others):
        by_size[page.size].append(page)
    for size, copies in by_size.items():
        found[size] = tuple(PlaneSource(page) for page in copies)
    if scene.page.values(data, SUB_DIRECTORIES).size:
        below = subdirectories((source.page for source in scene.planes), data, name)
        for group in zip(*below, strict=False):
            found[group[0].size] = tuple(PlaneSource(page) for page in group)
    sizes = sorted((size for size, planes in found.items() if _is_copy(size, planes, scene, data)), reverse=True)
    return [Level(scene, scene.page.size)] + [Level(replace(scene, planes=found[size]), size) for size in sizes]


def choose_level(levels: Sequence[Level], view: View, name: str) -> int:
    """The number of the level to read. Raises `InapplicableOption`."""
    if view.level is not None and view.resolution is not None:
        raise InapplicableOption(f"{name}: give the option level or resolution, not both")
    if view.level is not None:
        if view.level >= len(levels):
            raise InapplicableOption(f"{name}: no level {view.level}: its levels are {described(levels)}")
        return view.level
    if view.resolution is None:
        return 0
    size = levels[0].scene.pixel_size
    if size is None:
        raise InapplicableOption(f"{name}: its pixel size is not known, so use the option level instead of resolution")
    sizes = [size[0] * levels[0].size[0] / level.size[0] for level in levels]
    for number, pixel in enumerate(sizes):
        if abs(pixel / view.resolution - 1) <= _TOLERANCE:
            return number
    known = ", ".join(f"{pixel:.3g}" for pixel in sizes)
    raise InapplicableOption(
        f"{name}: no level has {view.resolution:g} µm per pixel, they have {known}: "
        f"use the option level; a client that opens the file by its path, with maskq[microscopy], resizes it"
    )


def described(levels: Sequence[Level]) -> str:
    """Such as `0 (2000×3000), 1 (1000×1500)`."""
    return ", ".join(f"{n} ({level.size[0]}×{level.size[1]})" for n, level in enumerate(levels))


def _is_copy(size: tuple[int, int], planes: tuple[PlaneSource, ...], scene: Scene, data: bytes) -> bool:
    """Whether these pages are the scene's planes in a smaller size: as many, of the same samples and of its shape."""
    page, full = planes[0].page, scene.page
    scale = max(full.size[0] / max(size[0], 1), full.size[1] / max(size[1], 1))
    return (
        len(planes) == len(scene.planes)
        and scale > 1
        and page.samples == full.samples
        and page.values(data, BITS).tolist() == full.values(data, BITS).tolist()
        and all(abs(long / scale - short) <= _ROUNDING for long, short in zip(full.size, size, strict=True))
    )
