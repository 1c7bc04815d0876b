"""Whole slides: the largest image is the slide, pages of its shape are its pyramid, others are label and overview.

Scanners do not mark the levels of a pyramid in tag 254, so the makers' signs decide that a file is one.
"""

import re

from ..directory import NDPI_VERSION
from ..pages import Pages
from ..scene import PixelSize, Scene, signature
from .units import pixel_size_of

_APERIO, _LEICA, _AKOYA = "Aperio", "<scn", "PerkinElmer-QPI"
_MICRONS = re.compile(r"MPP = ([0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_MAX_CHANNELS = 64
_CHANNEL = re.compile(r"<Name>([^<]{1,100})</Name>")


def read(data: bytes, pages: Pages, name: str) -> list[Scene] | None:
    """The slide, if the file is one."""
    text = next(iter(pages.chain[0].texts(data)), "")
    is_ndpi = pages.chain[0].number(data, NDPI_VERSION) > 0
    if not (is_ndpi or text.startswith(_APERIO) or _AKOYA in text or _LEICA in text[:200]):
        return None
    main = max(pages.chain, key=lambda page: page.size[0] * page.size[1])
    alike = tuple(page for page in pages.full if signature(page, data) == signature(main, data))
    if len(alike) < 2:
        return [Scene("I", (1,), Scene.of_pages((main,), name).planes, pixel_size=_pixel_size(text))]
    if _AKOYA not in text or len(alike) > _MAX_CHANNELS:
        return [Scene.of_pages(alike, name)]
    found = [_CHANNEL.search(next(iter(page.texts(data)), "")) for page in alike]
    names = tuple(match[1] for match in found if match)
    planes = Scene.of_pages(alike, name).planes
    return [Scene("C", (len(alike),), planes, names if len(names) == len(alike) else ())]


def _pixel_size(text: str) -> PixelSize | None:
    found = _MICRONS.search(text)
    return pixel_size_of(float(found[1]), float(found[1]), "µm") if found else None
