"""Read JPEG 2000: a codestream, or a .jp2 file with one."""

import struct
from dataclasses import dataclass

import imagecodecs
import numpy as np

from ..errors import MultiPageImage, NotAnImage, TruncatedImage
from . import ycbcr
from .checks import ImageLimits, check_channels, check_size
from .image import ChannelKind, Image
from .jpeg2000 import FILE_MAGIC, boxes, read_codestream
from .pillow import KINDS

#: Colour spaces: sRGB, grey, YCbCr; and what encoders write for channels that are no colours.
_SRGB, _GREY, _YCBCR, _NO_COLOURS = 16, 17, 18, 0
#: What a channel is, as its definition says: colour, alpha, alpha that is multiplied in.
_COLOUR, _ALPHA = 0, (1, 2)
#: How many channels, besides alpha, are colours by the colour space; None is a bare codestream, or a profile.
_COLOURS = {None: (1, 3), _SRGB: (1, 3), _GREY: (1,)}


@dataclass(frozen=True)
class _Content:
    """What the boxes of a .jp2 file say."""

    codestream: bytes
    #: The number of the colour space, None if it is not given as one.
    colour_space: int | None = None
    #: Whether the file defines its last channel as alpha.
    alpha: bool = False


def read_jpeg2000(data: bytes, name: str, limits: ImageLimits) -> Image:
    """The picture: (H, W, C), values as stored. Raises an `ImageError`, or any exception on damaged bytes.

    One channel is grey, three are RGB. A further one is alpha only if the file says so: else all are separate.
    """
    content = _content(data, name) if data.startswith(FILE_MAGIC) else _Content(data)
    header = read_codestream(content.codestream, name)
    check_size(header.height, header.width, name, limits)
    check_channels(header.components, name)
    if not header.full_size or len(set(header.bits)) > 1 or abs(header.bits[0]) > 16:
        raise NotAnImage(f"{name}: a JPEG 2000 of channels of different size, or over 16 bits; save it as PNG or TIFF")
    # The codestream alone: palettes and colour spaces of the file multiply the memory that OpenJPEG takes.
    pixels = np.asarray(imagecodecs.jpeg2k_decode(content.codestream, numthreads=1))
    pixels = pixels.reshape(header.height, header.width, header.components)
    if content.colour_space == _YCBCR and header.components == 3 and header.bits[0] == 8:
        return Image(ycbcr.to_rgb(pixels), ChannelKind.RGB, notes=("YCbCr was converted to RGB.",))
    return Image(pixels, _kind(header.components, content))


def _kind(channels: int, content: _Content) -> ChannelKind:
    if channels == 1:
        return ChannelKind.GREY
    known = channels - content.alpha in _COLOURS.get(content.colour_space, ())
    return KINDS[channels] if known else ChannelKind.SEPARATE


def _content(data: bytes, name: str) -> _Content:
    """The only codestream of a file, and its colours. Raises `NotAnImage`, `MultiPageImage`, `TruncatedImage`."""
    streams, colour_space, alpha = [], None, False
    for kind, begin, end in boxes(data, 0, len(data)):
        if kind == b"jp2c":
            streams.append((begin, end))
        elif kind == b"jp2h":
            for inner, start, stop in boxes(data, begin, end):
                if inner == b"pclr":
                    raise NotAnImage(f"{name}: a JPEG 2000 with a palette, which maskq does not read; save it as PNG")
                if inner == b"colr" and data[start] == 1 and colour_space is None:
                    (colour_space,) = struct.unpack_from(">I", data, start + 3)
                elif inner == b"cdef":
                    alpha = _last_is_alpha(data[start:stop], name)
    if len(streams) > 1:
        raise MultiPageImage(
            f"{name}: {len(streams)} pictures in a JPEG 2000 file, as in an older ND2 (Nikon); save them as OME-TIFF"
        )
    if colour_space not in (None, _SRGB, _GREY, _YCBCR, _NO_COLOURS):
        raise NotAnImage(f"{name}: a JPEG 2000 of colour space {colour_space}; save it as sRGB or grey, PNG or TIFF")
    if not streams:
        raise TruncatedImage(f"{name}: cut short: a JPEG 2000 file without a picture")
    return _Content(data[slice(*streams[0])], colour_space, alpha)


def _last_is_alpha(definitions: bytes, name: str) -> bool:
    """Whether the channel definitions call the last one alpha. Raises `NotAnImage` if colours are permuted."""
    (count,) = struct.unpack_from(">H", definitions)
    kinds = {}
    for index in range(count):
        channel, kind, colour = struct.unpack_from(">3H", definitions, 2 + 6 * index)
        kinds[channel] = kind
        if kind == _COLOUR and colour != channel + 1:
            raise NotAnImage(f"{name}: a JPEG 2000 whose colours are in an unusual order; save it as PNG or TIFF")
    return kinds.get(count - 1) in _ALPHA
