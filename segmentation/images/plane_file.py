"""One plane of a stack as a file of its own: everything that its `Image` has, so that reading gives back the same.

After the magic: the size of the header in four bytes, little-endian; the header, JSON; the pixels, compressed with
Zstandard. maskq's workers write these files for each other. The bytes are checked all the same: anyone can submit them.
"""

import imagecodecs
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import ImageTooLarge, NotAnImage, TruncatedImage
from .checks import ImageLimits, check_channels, check_size
from .image import ChannelKind, Image

MAGIC = b"\x93MASKQ1"
_SIZE_BYTES, _MAX_HEADER = 4, 1 << 16
#: Zstandard's fastest ordinary level: a third of zlib's time for the same size.
_LEVEL = 1


class _Header(BaseModel):
    """What an `Image` is, besides the values of its pixels."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: numpy's name of the type, such as `<u2`.
    dtype: str = Field(pattern=r"^([<>][iuf][248]|<f16|[|][biu]1)$")
    shape: tuple[int, int, int]
    kind: ChannelKind
    channel_names: tuple[str, ...] = ()
    pixel_size: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def encode_plane(image: Image) -> bytes:
    """The image as a file; nothing is lost."""
    header = _Header(
        dtype=image.pixels.dtype.str,
        shape=(image.pixels.shape[0], image.pixels.shape[1], image.pixels.shape[2]),
        kind=image.kind,
        channel_names=image.channel_names,
        pixel_size=image.pixel_size,
        notes=image.notes,
    )
    text = header.model_dump_json().encode()
    pixels = imagecodecs.zstd_encode(image.pixels.tobytes(), level=_LEVEL)
    return b"".join((MAGIC, len(text).to_bytes(_SIZE_BYTES, "little"), text, pixels))


def read_plane(data: bytes, name: str, limits: ImageLimits) -> Image:
    """The image of a file that `encode_plane` wrote; its pixels are not checked yet. Raises an `ImageError`."""
    begin = len(MAGIC) + _SIZE_BYTES
    size = int.from_bytes(data[len(MAGIC) : begin], "little")
    if size > min(_MAX_HEADER, len(data) - begin):
        raise TruncatedImage(f"{name}: damaged: a header of {size:,} bytes")
    try:
        header = _Header.model_validate_json(data[begin : begin + size])
    except ValidationError as error:
        raise NotAnImage(f"{name}: the header of a plane is invalid in {error.error_count()} fields") from error
    height, width, channels = header.shape
    if min(header.shape) < 0:
        raise TruncatedImage(f"{name}: damaged: shape {header.shape}")
    check_size(height, width, name, limits)
    check_channels(channels, name)
    dtype = np.dtype(header.dtype)
    expected = height * width * channels * dtype.itemsize
    if expected > limits.max_decoded:
        raise ImageTooLarge(f"{name}: {expected:,} bytes of pixels, over the limit of {limits.max_decoded:,} bytes")
    pixels = _decompressed(data[begin + size :], expected, name)
    array = np.frombuffer(pixels, dtype).reshape(header.shape)
    return Image(array, header.kind, header.channel_names, header.pixel_size, header.notes)


def _decompressed(data: bytes, expected: int, name: str) -> bytes:
    """The pixels' bytes, never more than `expected`."""
    try:
        pixels = bytes(imagecodecs.zstd_decode(data, out=expected))
    except imagecodecs.ZstdError as error:
        raise TruncatedImage(f"{name}: cut short or damaged: {error}") from error
    if len(pixels) != expected:
        raise TruncatedImage(f"{name}: cut short: {len(pixels):,} of {expected:,} bytes of pixels")
    return pixels
