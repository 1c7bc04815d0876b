"""Read a TIFF's bytes into an image, or into a stack whose planes are read one by one."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageTooLarge, MultiPageImage, NotAnImage, TruncatedImage
from ..checks import ImageLimits, check_channels, check_size
from ..image import ChannelKind, Image, Stack, View
from ..plain_view import check_region
from .colours import CAMERA_RAW
from .decoding import check_kind, read_plane
from .directory import DNG_VERSION, PLANAR, Directory
from .levels import Level, choose_level, described, levels_of
from .pages import Pages, read_pages, subdirectories
from .scene import Scene
from .scenes import choose_scene, scenes_of
from .segments import Window

#: Axes of planes of which nothing is known.
_UNKNOWN = frozenset("QI")
#: Pages of so few columns, or rows, may hold channels in them: as many as are read, or the fewest that are usual.
_MAX_SLIVER, _FEW_ROWS = 16, 4
_BY_BAND_NOTE = "Taken as RGB, as its tag says; if its samples are the planes of a stack, save it with the axes."
#: What the bytes 8 and 9 of a Canon raw file are.
_CANON = b"CR"
_RAW_FILE = "a camera's raw file; develop it to PNG or TIFF"


def read_tiff(data: bytes, name: str, limits: ImageLimits, view: View = View()) -> Image | Stack:
    """The image or stack that `view` chooses, in stored order: tag 274 (orientation) turns nothing.

    Its pixels are not checked for NaN. Raises an `ImageError`, or any exception on damaged bytes; so does reading a
    plane of the stack.
    """
    pages = read_pages(data, name)
    _check_camera_raw(pages.chain[0], data, name)
    scenes = scenes_of(data, pages, name)
    scene = choose_scene(scenes, view.scene, name)
    level = Level(scene, scene.page.size)
    if view.level is not None or view.resolution is not None:
        levels = _levels(scene, scenes, pages, data, name)
        level = levels[choose_level(levels, view, name)]
    window = _window(view, scene, level, name)
    try:
        check_size(*((window.height, window.width) if window else level.size), name, limits)
    except ImageTooLarge as error:
        levels = _levels(scene, scenes, pages, data, name)
        if len(levels) == 1:
            raise
        raise ImageTooLarge(
            f"{error}; it is a pyramid: choose one of its levels with the option level: {described(levels)}, or a part "
            "with the option region"
        ) from None
    return _Reader(data, level, scene.page.size, window, name, limits, pages.notes).result()


def _levels(scene: Scene, scenes: list[Scene], pages: Pages, data: bytes, name: str) -> list[Level]:
    shown = {source.page.offset for one in scenes for source in one.planes}
    return levels_of(scene, pages, [page for page in pages.full if page.offset not in shown], data, name)


def _check_camera_raw(first: Directory, data: bytes, name: str) -> None:
    """Raises `NotAnImage` for camera raw files: their full image is in a subdirectory, or the file says DNG."""
    below = subdirectories((first,), data, name)
    raw = data[8:10] == _CANON or DNG_VERSION in first.index
    if raw or any(page.photometric in CAMERA_RAW for page in (first, *next(below))):
        raise NotAnImage(f"{name}: {_RAW_FILE}")


def _window(view: View, scene: Scene, level: Level, name: str) -> Window | None:
    """The region in pixels of the level. Raises `InapplicableOption` if it is not within the image."""
    if view.region is None:
        return None
    x, y, width, height = view.region
    full_height, full_width = scene.page.size
    check_region(view.region, scene.page.size, name)
    down, across = level.size[0] / full_height, level.size[1] / full_width
    top, left = math.floor(y * down), math.floor(x * across)
    bottom = min(level.size[0], math.ceil((y + height) * down))
    right = min(level.size[1], math.ceil((x + width) * across))
    return Window(top, left, max(1, bottom - top), max(1, right - left))


def _by_band(image: Image, scene: Scene) -> Image:
    """The image; with a note, and `Image.by_band`, if its colours may be planes of a stack."""
    colours = image.kind in (ChannelKind.RGB, ChannelKind.RGBA) and not scene.separate and not scene.explicit
    if not colours or scene.page.tags.get(PLANAR, 1) != 2:
        return image
    return replace(image, by_band=True, notes=(*image.notes, _BY_BAND_NOTE))


@dataclass(frozen=True)
class _Reader:
    """Reads the planes of one level of a scene."""

    data: bytes
    level: Level
    #: Height and width of the full image.
    full_size: tuple[int, int]
    window: Window | None
    name: str
    limits: ImageLimits
    notes: tuple[str, ...]

    def result(self) -> Image | Stack:
        """The image if there is one plane, whatever its channels; otherwise the stack."""
        scene = self.level.scene
        check_channels(scene.samples * self._order().shape[1], self.name)
        outer = [(axis, n) for axis, n in zip(scene.axes, scene.shape, strict=True) if axis != "C" and n > 1]
        if not outer:
            return self.read(0)
        if {axis for axis, _ in outer} <= _UNKNOWN:
            self._check_slivers()
        for page in {source.page.offset: source.page for source in scene.planes}.values():
            check_kind(page, self.data, self.name)
            if page.pixels_end(self.data) > len(self.data):
                raise TruncatedImage(
                    f"{self.name}: cut short: {len(self.data):,} bytes end before its last plane does; copy or save it "
                    "again"
                )
        size = (self.window.height, self.window.width) if self.window else self.level.size
        return Stack("".join(axis for axis, _ in outer), tuple(n for _, n in outer), size, self.read)

    def read(self, index: int) -> Image:
        """The plane of this index in row-major order over all axes but C, with all channels."""
        scene = self.level.scene
        sources = [scene.planes[number] for number in self._order()[index]]
        images = [read_plane(self.data, source, self.window, self.name, self.limits) for source in sources]
        image = _by_band(images[0], scene)
        if len(images) > 1:
            self._check_merge(images)
            pixels = np.concatenate([one.pixels for one in images], axis=2)
            notes = tuple(dict.fromkeys(note for one in images for note in one.notes))
            image = Image(pixels, ChannelKind.SEPARATE, notes=notes)
        elif scene.separate:
            image = replace(image, kind=ChannelKind.SEPARATE)
        if not (scene.channel_names or scene.pixel_size or self.notes):
            return image
        names = scene.channel_names if len(scene.channel_names) == image.pixels.shape[2] else ()
        return replace(image, channel_names=names, pixel_size=self._pixel_size(), notes=(*self.notes, *image.notes))

    def _order(self) -> NDArray[np.intp]:
        """(planes, channels): the scene's numbers of the planes that make each result."""
        scene = self.level.scene
        numbers = np.arange(len(scene.planes)).reshape(scene.shape)
        channel = scene.axes.find("C")
        numbers = np.moveaxis(numbers, channel, -1) if channel >= 0 else numbers[..., None]
        return numbers.reshape(-1, numbers.shape[-1])

    def _check_merge(self, images: list[Image]) -> None:
        shapes = {(one.pixels.shape[:2], one.pixels.dtype) for one in images}
        if len(shapes) > 1:
            raise TruncatedImage(
                f"{self.name}: damaged: channels of different sizes or types: {sorted(map(str, shapes))}"
            )
        size = sum(one.pixels.nbytes for one in images)
        if size > self.limits.max_decoded:
            raise ImageTooLarge(
                f"{self.name}: {len(images)} channels are {size:,} bytes of pixels, over the limit of "
                f"{self.limits.max_decoded:,} bytes"
            )

    def _check_slivers(self) -> None:
        """Raises `MultiPageImage` for planes that are rather the rows of an image whose channels are last."""
        (height, width), count = self.level.scene.page.size, len(self.level.scene.planes)
        if (width > _MAX_SLIVER and height > _FEW_ROWS) or min(max(height, width), count) < 4 * min(height, width):
            return
        raise MultiPageImage(
            f"{self.name}: {count:,} pages of {height}×{width} pixels without axes, which are rather the rows of an "
            f"image with {width} channels than a stack; save it with its axes "
            "(tifffile: metadata={'axes': 'YXC'}, or 'ZYX' for a stack)"
        )

    def _pixel_size(self) -> tuple[float, float] | None:
        size = self.level.scene.pixel_size
        if size is None:
            return None
        return size[0] * (self.full_size[0] / self.level.size[0]), size[1] * (self.full_size[1] / self.level.size[1])
