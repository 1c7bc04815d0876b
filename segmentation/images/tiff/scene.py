"""A scene: one image or stack of a TIFF, and where its planes are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

from ...errors import MultiPageImage
from .decoding import PlaneSource
from .directory import BITS, PLANAR, SAMPLE_FORMAT, Directory
from .uncompressed import MAX_PLANES, check_planes

#: Height and width of a pixel, micrometres.
PixelSize: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """One image or stack."""

    #: Names of the axes that number the planes, slowest first, such as `TZC`, and their lengths. Samples of a pixel,
    #: height and width are not in it.
    axes: str
    shape: tuple[int, ...]
    #: The planes in row-major order over `axes`.
    planes: tuple[PlaneSource, ...]
    channel_names: tuple[str, ...] = ()
    pixel_size: PixelSize | None = None
    #: Whether metadata says that the samples of a pixel are channels, though the page may call them RGB.
    separate: bool = False
    #: Whether metadata says what samples stored by band are: colours, channels or planes.
    explicit: bool = False

    def __post_init__(self) -> None:
        assert len(self.planes) == prod(self.shape) and len(self.axes) == len(self.shape)

    @property
    def page(self) -> Directory:
        """The page of the first plane."""
        return self.planes[0].page

    @property
    def samples(self) -> int:
        """Samples per pixel of a plane."""
        return self.planes[0].samples

    @classmethod
    def of_pages(cls, pages: tuple[Directory, ...], name: str, axis: str = "I") -> Scene:
        """Pages of one signature, each of one plane or several (ImageDepth). Raises `MultiPageImage` for too many."""
        if len(pages) * pages[0].depth > MAX_PLANES:
            raise MultiPageImage(f"{name}: a TIFF of more than {MAX_PLANES:,} planes; send it in parts")
        planes = tuple(PlaneSource(page, depth) for page in pages for depth in range(page.depth))
        if len(pages) == 1:
            return cls("Z", (len(planes),), planes)
        if len(planes) == len(pages):
            return cls(axis, (len(pages),), planes)
        return cls(axis + "Z", (len(pages), pages[0].depth), planes)


def signature(page: Directory, data: bytes) -> tuple[object, ...]:
    """What pages of one stack have in common: size and kind of samples."""
    bits = tuple(sorted(set(page.values(data, BITS).tolist())))
    formats = tuple(sorted(set(page.values(data, SAMPLE_FORMAT).tolist()))) or (1,)
    return page.size, page.depth, page.samples, page.photometric, page.tags.get(PLANAR, 1), bits, formats


def planes_of_samples(sources: tuple[PlaneSource, ...], name: str) -> tuple[PlaneSource, ...]:
    """A plane for each sample of each of these. Raises `MultiPageImage` for too many."""
    if len(sources) * sources[0].page.samples > MAX_PLANES:
        raise MultiPageImage(f"{name}: a TIFF of more than {MAX_PLANES:,} planes; send it in parts")
    return tuple(replace(source, sample=n) for source in sources for n in range(source.page.samples))


def planes_behind(page: Directory, count: int, data: bytes, name: str) -> tuple[PlaneSource, ...]:
    """The planes of a stack in one directory: the page's and those behind it. Raises as `check_planes` does."""
    check_planes(page, count, data, name)
    return tuple(PlaneSource(page, following=index) for index in range(count))
