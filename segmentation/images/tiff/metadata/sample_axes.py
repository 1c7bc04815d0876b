"""Axes that metadata give to the samples of a pixel, whatever the page's colour space says.

tifffile calls three or four planes RGB unless it is told otherwise, so a z-stack of three has such pages.
"""

from math import prod

from ....errors import MultiPageImage
from ..colours import BLACK_IS_ZERO, RGB, WHITE_IS_ZERO, YCBCR
from ..decoding import PlaneSource
from ..directory import HEIGHT, ROWS_PER_STRIP, SAMPLES, STRIP_COUNTS, STRIP_OFFSETS, WIDTH, Directory
from ..scene import Scene, planes_behind, planes_of_samples
from ..uncompressed import plane_start

#: Colour spaces whose samples can be anything; those of others, such as CMYK, are inks or indices.
_ANY = frozenset({WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR})


def scene_of_axes(outer: str, shape: tuple[int, ...], planes: tuple[PlaneSource, ...], inner: str, name: str) -> Scene:
    """Pages of the axes `outer`, each of the axes `inner`: Y, X and, if a pixel has several samples, one for these.

    `C` makes the samples separate channels, `S` what the page says, and any other letter planes of that axis.
    """
    page = planes[0].page
    axis = inner.replace("Y", "", 1).replace("X", "", 1)
    if page.samples == 1 or len(axis) != 1 or axis == "S" or page.photometric not in _ANY:
        return Scene(outer, shape, planes, explicit=True)
    if axis == "C":
        return Scene(outer, shape, planes, separate=True, explicit=True)
    return Scene(outer + axis, (*shape, page.samples), planes_of_samples(planes, name), explicit=True)


def channels_last(axes: str, shape: list[int], planes: tuple[PlaneSource, ...], data: bytes, name: str) -> Scene:
    """The scene of axes such as `YXC` whose pages hold one row each, as tifffile writes it unless told otherwise.

    Raises `MultiPageImage` unless the pages stand one after another and uncompressed.
    """
    page, (height, width, samples) = planes[0].page, shape[-3:]
    starts = [plane_start(plane.page, plane.following, data) for plane in planes]
    size = prod(page.size)
    first = starts[0]
    if (
        set(axes[-3:-1]) != {"Y", "X"}
        or page.size != (width, samples)
        or page.samples > 1
        or first is None
        or any(start != (first[0] + n * size * first[1], first[1]) for n, start in enumerate(starts))
    ):
        raise MultiPageImage(
            f"{name}: {len(planes):,} pages of {page.size[0]}×{page.size[1]} pixels with the axes {axes}, so a page is "
            "no image; save it with the axes Y and X last (tifffile: move C to the front, or planarconfig='contig')"
        )
    whole = _whole(page, height, first[0], size * height * first[1])
    outer = tuple(shape[:-3])
    return scene_of_axes(axes[:-3], outer, planes_behind(whole, prod(outer), data, name), axes[-3:], name)


def _whole(page: Directory, rows: int, start: int, length: int) -> Directory:
    """An image whose rows are stored like the page, whose own rows are pixels, and columns are samples."""
    width, samples = page.size
    return page.with_numbers({
        HEIGHT: rows, WIDTH: width, SAMPLES: samples, ROWS_PER_STRIP: rows, STRIP_OFFSETS: start, STRIP_COUNTS: length,
    })  # fmt: skip
