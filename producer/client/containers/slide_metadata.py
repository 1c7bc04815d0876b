"""What vendors write into a slide's metadata: the pixel size, the channels' names and which image is the macro."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from .units import micrometres

if TYPE_CHECKING:
    import tifffile

#: Micrometres between which a pixel size of plain resolution tags is believed, as in the workers' reader of TIFF: 72 to
#: 2,400 pixels per inch, 353 to 10.6 µm, are a screen's or printer's.
_SMALLEST_PIXEL, _LARGEST_PIXEL = 0.01, 10.0
_MILLIMETRE = 1000.0


def pixel_size(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[float, float] | None:
    """Height and width of a pixel of the full image, micrometres; None if unknown."""
    readers = {"svs": _aperio, "scn": _leica, "philips": _philips, "ome": _ome, "imagej": _imagej}
    try:
        reader = readers.get(series.kind, _resolution_tags)
        return reader(file, series) or _resolution_tags(file, series)
    except (ElementTree.ParseError, KeyError, ValueError, TypeError, ZeroDivisionError):  # damaged metadata
        return None


def channels(file: tifffile.TiffFile, series: tifffile.TiffPageSeries, count: int) -> tuple[str, ...]:
    """The names of the channels; empty if the file has none, or another number of them."""
    readers = {"ome": _ome_channels, "scn": _leica_channels, "qpi": _akoya_channels}
    try:
        reader = readers.get(series.kind)
        names = reader(file, series) if reader else ()
    except (ElementTree.ParseError, KeyError):
        return ()
    return names if len(names) == count and any(names) else ()


def macros(file: tifffile.TiffFile) -> frozenset[str]:
    """Names of the images that show the whole glass: on Leica slides, those that have the size of the collection."""
    if not file.is_scn:
        return frozenset()
    root = ElementTree.fromstring(file.scn_metadata or "")
    found = set()
    for collection in root.iterfind("{*}collection"):
        size = collection.get("sizeX"), collection.get("sizeY")
        for image in collection.iterfind("{*}image"):
            view = image.find("{*}view")
            if view is not None and (view.get("sizeX"), view.get("sizeY")) == size:
                found.add(image.get("name", "Unknown"))
    return frozenset(found)


def _aperio(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[float, float] | None:
    found = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", series.keyframe.description)
    size = float(found[1]) if found else 0.0
    return (size, size) if size > 0 else None


def _leica(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[float, float] | None:
    """The view's size is in nanometres."""
    image = _leica_image(file, series)
    view, pixels = image.find("{*}view"), image.find("{*}pixels")
    if view is None or pixels is None:
        return None
    height, width = (float(view.attrib[size]) / float(pixels.attrib[size]) / _MILLIMETRE for size in ("sizeY", "sizeX"))
    return height, width


def _leica_image(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> ElementTree.Element:
    root = ElementTree.fromstring(file.scn_metadata or "")
    images = root.iterfind("{*}collection/{*}image")
    return next(image for image in images if image.get("name", "Unknown") == series.name)


def _leica_channels(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    settings = _leica_image(file, series).iterfind(".//{*}channelSettings/{*}channel")
    named = sorted((int(one.get("index", 0)), one.get("name", "")) for one in settings)
    return tuple(name for _, name in named)


def _philips(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[float, float] | None:
    """DICOM pixel spacing, row then column, millimetres."""
    found = re.search(r'DICOM_PIXEL_SPACING"[^>]*>\s*"?([0-9.]+)"?\s+"?([0-9.]+)', file.philips_metadata or "")
    return (float(found[1]) * _MILLIMETRE, float(found[2]) * _MILLIMETRE) if found else None


def _ome(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[float, float] | None:
    pixels = _ome_pixels(file, series)
    height, width = (
        micrometres(float(pixels.get(f"PhysicalSize{axis}", 0)), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "YX"
    )
    return (height, width) if height and width else None


def _ome_channels(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    return tuple(channel.get("Name", "") for channel in _ome_pixels(file, series).iterfind("{*}Channel"))


def _ome_pixels(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> ElementTree.Element:
    """The element of the series' image: tifffile keeps the order of the images."""
    images = ElementTree.fromstring(file.ome_metadata or "").findall("{*}Image")
    if len(images) != len(file.series):
        raise KeyError(series.name)
    position = next(number for number, one in enumerate(file.series) if one is series)
    pixels = images[position].find("{*}Pixels")
    if pixels is None:
        raise KeyError(series.name)
    return pixels


def _akoya_channels(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    """Each page's description is an XML document with the name of its channel."""
    pages = (page.aspage() for page in series.pages if page is not None)
    names = [ElementTree.fromstring(page.description).findtext("Name", "") for page in pages]
    return tuple(names)


def _imagej(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[float, float] | None:
    """Pixels per unit in the resolution tags, and the unit in ImageJ's own metadata."""
    if not {"XResolution", "YResolution"} <= {tag.name for tag in series.keyframe.tags}:
        return None
    unit = str((file.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")  # ImageJ writes six letters for µ
    width, height = series.keyframe.resolution
    sizes = (micrometres(1 / height, unit), micrometres(1 / width, unit)) if width and height else (None, None)
    return (sizes[0], sizes[1]) if sizes[0] and sizes[1] else None


def _resolution_tags(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[float, float] | None:
    page = series.keyframe
    unit = {2: "inch", 3: "cm"}.get(int(page.resolutionunit))
    width, height = page.resolution
    if not unit or not width or not height:
        return None
    sizes = micrometres(1 / height, unit), micrometres(1 / width, unit)
    believed = all(size and _SMALLEST_PIXEL <= size < _LARGEST_PIXEL for size in sizes)
    return (sizes[0], sizes[1]) if believed and sizes[0] and sizes[1] else None
