"""OME-XML: the planes of each image, channel names and pixel sizes.

https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from xml.etree import ElementTree

from ....errors import MultiPageImage, TruncatedImage
from ..decoding import PlaneSource
from ..directory import Directory
from ..pages import Pages
from ..scene import PixelSize, Scene, planes_of_samples
from .units import pixel_size_of

#: Elements of the XML: each of ten thousand planes has about six.
_MAX_ELEMENTS = 200_000
_ORDERS = frozenset({"XYZCT", "XYZTC", "XYCTZ", "XYCZT", "XYTCZ", "XYTZC"})


def read(data: bytes, pages: Pages, name: str) -> list[Scene] | None:
    """The images. Raises `TruncatedImage` if planes are missing, `MultiPageImage` if they are in other files."""
    text = next((t for t in pages.chain[0].texts(data) if t[-10:].strip().endswith("OME>")), None)
    if text is None or "<!DOCTYPE" in text or "<!ENTITY" in text or text.count("<") > _MAX_ELEMENTS:
        return None  # entities can expand without end
    try:
        root = ElementTree.fromstring(text)
        images = [pixels for image in root.findall("{*}Image") if (pixels := image.find("{*}Pixels")) is not None]
        book = _Book(pages.chain, root.get("UUID"), {page.size: page for page in reversed(pages.chain)})
        scenes = [scene for pixels in images if (scene := _scene(pixels, book, name)) is not None]
    except (ElementTree.ParseError, ValueError, KeyError):
        return None
    return scenes or None


@dataclass
class _Book:
    """The pages that the images share."""

    pages: tuple[Directory, ...]
    #: The id of this file; None if it has none.
    own_id: str | None
    #: The first page of each height and width.
    by_size: dict[tuple[int, int], Directory]
    #: How often pages were taken: more often than there are pages and images is a file made to cost time.
    taken: int = 0

    def take(self, start: int, count: int) -> tuple[Directory, ...]:
        """Some pages, as far as there are any. Raises `ValueError` if pages are taken over and over."""
        found = self.pages[start : start + count]
        self.taken += len(found)
        if self.taken > 4 * len(self.pages):
            raise ValueError("pages are named more than once")
        return found


def _scene(pixels: ElementTree.Element, book: _Book, name: str) -> Scene | None:
    """One image; None if its size is not that of its pages, or if all of its planes are in other files."""
    order = pixels.attrib["DimensionOrder"]
    if order not in _ORDERS:
        return None
    channels = pixels.findall("{*}Channel")
    axes = order[:1:-1]
    lengths = {axis: int(pixels.attrib["Size" + axis]) for axis in axes}
    samples = int(channels[0].get("SamplesPerPixel", 1)) if channels else 1
    if min(lengths.values()) < 1 or samples < 1:
        return None
    page = book.by_size.get((int(pixels.attrib["SizeY"]), int(pixels.attrib["SizeX"])))
    if page is None:
        return None
    stored = page.samples
    if lengths["C"] % stored:
        return _scene_of_samples(pixels, axes, tuple(lengths[axis] for axis in axes), book, name)
    lengths["C"] = max(1, lengths["C"] // stored)
    shape = tuple(lengths[axis] for axis in axes)
    planes = _planes(pixels, axes, shape, book, name)
    if planes is None:
        return None
    names = tuple(channel.get("Name") or f"channel {n}" for n, channel in enumerate(channels, 1))
    if not any(channel.get("Name") for channel in channels) or samples > 1:
        names = ()
    return Scene(axes, shape, planes, names, _pixel_size(pixels), separate=stored > 1 and samples == 1, explicit=True)


def _scene_of_samples(
    pixels: ElementTree.Element, axes: str, shape: tuple[int, ...], book: _Book, name: str
) -> Scene | None:
    """An image whose planes are the samples of its pages, though these say RGB; None if they are not as many."""
    alike = {(page.size, page.samples) for page in book.pages}
    elsewhere = _other_files(pixels.findall("{*}TiffData"), book.own_id)
    if len(alike) > 1 or elsewhere or len(book.pages) * book.pages[0].samples != prod(shape):
        return None
    planes = planes_of_samples(tuple(PlaneSource(page) for page in book.pages), name)
    return Scene(axes, shape, planes, (), _pixel_size(pixels), explicit=True)


def _planes(
    pixels: ElementTree.Element, axes: str, shape: tuple[int, ...], book: _Book, name: str
) -> tuple[PlaneSource, ...] | None:
    """The page of each plane, by the elements TiffData; None if no plane is in this file."""
    count = prod(shape)
    found: dict[int, Directory] = {}
    blocks = pixels.findall("{*}TiffData")
    elsewhere = sorted(_other_files(blocks, book.own_id))
    for block in blocks:
        if _is_elsewhere(block, book.own_id, blocks):
            continue
        first = _index([int(block.get("First" + axis, 0)) for axis in axes], shape)
        number = block.get("PlaneCount", block.get("NumPlanes", "1" if "IFD" in block.attrib else None))
        wanted = count - first if number is None else int(number)
        start = int(block.get("IFD", 0))
        found.update(enumerate(book.take(max(0, start), max(0, min(wanted, count - first))), first))
    if not found:
        return None
    if len(found) < count:
        seen = ", ".join(f"{axis}={length}" for axis, length in zip(axes, shape, strict=True) if length > 1)
        if elsewhere:
            raise MultiPageImage(
                f"{name}: one file of an OME-TIFF of several, with {len(found):,} of {count:,} planes ({seen}); the "
                f"others are in {', '.join(elsewhere[:3])}; save all planes in one file"
            )
        raise TruncatedImage(f"{name}: cut short: {len(found):,} of {count:,} planes ({seen}); copy or save it again")
    size = int(pixels.attrib["SizeY"]), int(pixels.attrib["SizeX"])
    planes: list[Directory] = [found[n] for n in range(count)]
    return tuple(PlaneSource(page) for page in planes) if {page.size for page in planes} == {size} else None


def _index(position: list[int], shape: tuple[int, ...]) -> int:
    """The number of a plane in row-major order. Raises `ValueError` for a position outside."""
    index = 0
    for place, length in zip(position, shape, strict=True):
        if not 0 <= place < length:
            raise ValueError("a plane outside of the image")
        index = index * length + place
    return index


def _other_files(blocks: list[ElementTree.Element], own_id: str | None) -> set[str]:
    return {
        (element.get("FileName") or "another file")[:100]
        for block in blocks
        if _is_elsewhere(block, own_id, blocks) and (element := block.find("{*}UUID")) is not None
    }


def _is_elsewhere(block: ElementTree.Element, own_id: str | None, blocks: list[ElementTree.Element]) -> bool:
    """Whether a TiffData names another file. Without an id of this file, one name that all share is this file's."""
    element = block.find("{*}UUID")
    if element is None:
        return False
    if own_id is not None:
        return element.text != own_id
    first = blocks[0].find("{*}UUID")
    return first is not None and element.text != first.text


def _pixel_size(pixels: ElementTree.Element) -> PixelSize | None:
    try:
        sizes = [float(pixels.get("PhysicalSize" + axis, "nan")) for axis in "YX"]
    except ValueError:  # such as a comma for the decimal point: the planes are as they are
        return None
    units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "YX"]
    return pixel_size_of(sizes[0], sizes[1], "", units[0], units[1])
