"""The scenes of a TIFF: by the metadata of the program that wrote it, or by the pages alone."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from ...errors import InapplicableOption, MultiPageImage
from .directory import RESOLUTION_UNIT as _UNIT
from .directory import TILE_OFFSETS, X_RESOLUTION, Y_RESOLUTION, Directory
from .metadata import READERS
from .metadata.units import pixel_size_of
from .pages import Pages
from .scene import PixelSize, Scene, signature

_UNITS = {2: "inch", 3: "cm"}
#: Micrometres of a pixel that resolution tags can mean. Printers' resolutions are coarser: 72 to 2,400 pixels per inch
#: are 353 to 10.6 µm.
_SPECIMEN = (0.01, 10.0)


def scenes_of(data: bytes, pages: Pages, name: str) -> list[Scene]:
    """All scenes of the file, at least one. Raises an `ImageError` if its metadata name planes that it has not."""
    for read in READERS:
        if scenes := read(data, pages, name):
            break
    else:
        scenes = _plain_scenes(data, pages, name)
    return [scene if scene.pixel_size else replace(scene, pixel_size=_pixel_size(scene.page, data)) for scene in scenes]


def choose_scene(scenes: Sequence[Scene], number: int | None, name: str) -> Scene:
    """The scene of this number, from 1, or the only one. Raises `InapplicableOption` and `MultiPageImage`."""
    listed = ", ".join(f"{n} ({_described(scene)})" for n, scene in enumerate(scenes[:8], 1))
    if number is None and len(scenes) > 1:
        more = ", …" if len(scenes) > 8 else ""
        raise MultiPageImage(
            f"{name}: a TIFF of {len(scenes):,} images that do not belong together: {listed}{more}; choose one with "
            "the option scene, or send each as a separate image"
        )
    if number is not None and number > len(scenes):
        raise InapplicableOption(f"{name}: no scene {number}: its scenes are {listed}")
    return scenes[(number or 1) - 1]


def _described(scene: Scene) -> str:
    height, width = scene.page.size
    lengths = [f"{axis}={length}" for axis, length in zip(scene.axes, scene.shape, strict=True) if length > 1]
    samples = [f"{scene.samples} channels"] if scene.samples > 1 else []
    return ", ".join([f"{height}×{width}", *lengths, *samples])


def _plain_scenes(data: bytes, pages: Pages, name: str) -> list[Scene]:
    """A scene for each kind of page, in order of their first pages; unmarked reduced copies are none."""
    groups: dict[tuple[object, ...], list[Directory]] = {}
    for page in pages.full:
        groups.setdefault(signature(page, data), []).append(page)
    found = list(groups.values())
    if len(found) > 1 and _is_pyramid(found, data):
        found = found[:1]
    return [Scene.of_pages(tuple(group), name) for group in found]


def _is_pyramid(groups: Sequence[Sequence[Directory]], data: bytes) -> bool:
    """Whether pages without tag 254 are certainly a pyramid: tiled, and each half as high and wide as the last."""
    for larger, smaller in pairwise(groups):
        tiled = all(page.values(data, TILE_OFFSETS).size for page in (*larger, *smaller))
        alike = signature(larger[0], data)[1:] == signature(smaller[0], data)[1:]
        halves = all(
            small in (large // 2, -(-large // 2)) for large, small in zip(larger[0].size, smaller[0].size, strict=True)
        )
        if not (tiled and alike and halves and len(larger) == len(smaller)):
            return False
    return True


def _pixel_size(page: Directory, data: bytes) -> PixelSize | None:
    """From the resolution tags, if it is one of a microscope and not of a printer or screen."""
    if X_RESOLUTION not in page.index or (unit := _UNITS.get(page.number(data, _UNIT, 2))) is None:
        return None
    ratios = [page.values(data, tag).tolist() for tag in (Y_RESOLUTION, X_RESOLUTION)]
    if any(len(ratio) != 2 or not ratio[0] for ratio in ratios):
        return None
    size = pixel_size_of(ratios[0][1] / ratios[0][0], ratios[1][1] / ratios[1][0], unit)
    return size if size and all(_SPECIMEN[0] <= length < _SPECIMEN[1] for length in size) else None
