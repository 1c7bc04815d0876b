"""What a page's samples mean: a palette, CMYK and WhiteIsZero become colours and intensities as they are seen."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arrays import Pixels
from ...errors import NotAnImage, TruncatedImage
from ..checks import row_bands
from ..image import ChannelKind, Image
from .directory import BITS, COLOUR_MAP, EXTRA_SAMPLES, INK_SET, ORIENTATION, Directory

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, CMYK, YCBCR = range(7)
CAMERA_RAW = frozenset({32803, 34892})
#: YCbCr is converted only inside JPEG, by the decoder.
READABLE = frozenset({WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, CMYK})
#: What other colour spaces are called in errors.
NAMES = {
    YCBCR: "YCbCr", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "a camera's colour filter array",
    32844: "LogL", 32845: "LogLuv", 34892: "a camera's linear raw", 51177: "depth map", 52527: "semantic mask",
}  # fmt: skip
#: TIFF's numbers of extra samples that are alpha, premultiplied or not.
_ALPHA = frozenset({1, 2})


def interpreted(pixels: Pixels, page: Directory, data: bytes, name: str) -> Image:
    """(H, W, S) samples as stored → the image that they mean.

    RGB and grey are kept; one more sample is alpha if ExtraSamples says so, or if it is a fourth of RGB without that
    tag, as OpenCV writes it. Any other samples are separate channels, however many, because nothing says what they
    mean. Raises `NotAnImage`, or `TruncatedImage` for a palette that is missing.
    """
    photometric, samples = page.photometric, pixels.shape[2]
    extra = page.values(data, EXTRA_SAMPLES)[:1].tolist() or ([2] if (photometric, samples) == (RGB, 4) else [])
    alpha = bool(_ALPHA.intersection(extra))
    notes: tuple[str, ...] = ()
    if page.tags.get(ORIENTATION, 1) not in (0, 1):
        notes = (f"The TIFF's orientation tag says {page.tags[ORIENTATION]}; the pixels are taken as they are stored.",)
    if photometric == PALETTE:
        colours = _from_palette(pixels, page, data, alpha, name)
        return Image(colours, ChannelKind.RGBA if colours.shape[2] == 4 else ChannelKind.RGB, notes=notes)
    if photometric == CMYK:
        if page.number(data, INK_SET, 1) != 1:
            raise NotAnImage(f"{name}: a TIFF of inks other than CMYK, which maskq does not read; convert it to RGB")
        notes += ("CMYK was converted to RGB without a colour profile.",)
        return Image(_from_cmyk(pixels, name), ChannelKind.RGB, notes=notes)
    if photometric == WHITE_IS_ZERO:
        pixels = _turned_round(pixels, page, data, alpha, name)
        notes += ("The TIFF is WhiteIsZero: its values were turned round, so that light is high.",)
    return Image(pixels, _kind(photometric, samples, alpha), notes=notes)


def _kind(photometric: int, samples: int, alpha: bool) -> ChannelKind:
    if photometric in (RGB, YCBCR):
        known = {(3, False): ChannelKind.RGB, (4, True): ChannelKind.RGBA}
    else:
        known = {(1, False): ChannelKind.GREY, (2, True): ChannelKind.GREY_ALPHA}
    return known.get((samples, alpha), ChannelKind.SEPARATE)


def darkest(page: Directory, data: bytes) -> int:
    """The stored value, as an integer of as many bits as the file's, of pixels without any light."""
    if page.photometric != WHITE_IS_ZERO:
        return 0
    return (1 << (int(page.values(data, BITS)[:1].sum()) or 1)) - 1


def _turned_round(pixels: Pixels, page: Directory, data: bytes, alpha: bool, name: str) -> Pixels:
    """WhiteIsZero → BlackIsZero: the largest value of the file's bits minus the value; alpha stays.

    So does libvips; Pillow and OpenCV do at 8 bits and fewer. Signed values become -1 - v, which maps the type's range
    onto itself.
    """
    if pixels.dtype.kind == "f":
        raise NotAnImage(
            f"{name}: a WhiteIsZero TIFF of {pixels.dtype}, whose white has no value; save it as BlackIsZero"
        )
    turned: NDArray[Any] = np.invert(pixels)
    bits = int(page.values(data, BITS)[:1].sum()) or 1
    if pixels.dtype.kind == "u" and bits < 8 * pixels.dtype.itemsize:
        np.bitwise_and(turned, np.array(2**bits - 1, pixels.dtype), out=turned)
    if alpha and pixels.shape[2] > 1:
        turned[..., -1] = pixels[..., -1]
    return turned


def _from_palette(pixels: Pixels, page: Directory, data: bytes, alpha: bool, name: str) -> Pixels:
    """(H, W, 1 or 2) indices and alpha → (H, W, 3 or 4) of the palette's 16-bit colours."""
    colours: NDArray[Any] = page.values(data, COLOUR_MAP).reshape(3, -1).astype(np.uint16)
    if colours.size == 0:
        raise TruncatedImage(f"{name}: damaged: a palette TIFF without its palette")
    if colours.max() < 256:  # some programs write 8-bit values, as libtiff's tools know too
        colours *= 257
    indices = pixels[..., 0].astype(np.intp if pixels.dtype.kind == "b" else pixels.dtype)
    result: NDArray[Any] = np.ascontiguousarray(colours.T)[indices]
    if pixels.shape[2] == 1:
        return result
    if pixels.shape[2] != 2 or not alpha or pixels.dtype != np.uint8:
        raise NotAnImage(f"{name}: a palette TIFF of {pixels.shape[2]} samples a pixel; convert it to RGB")
    return np.concatenate([result, pixels[..., 1:].astype(np.uint16) * 257], axis=2)


def _from_cmyk(pixels: Pixels, name: str) -> Pixels:
    """(H, W, C ≥ 4) unsigned CMYK → (H, W, 3) RGB. Raises `NotAnImage` for other arrays."""
    if pixels.shape[2] < 4 or pixels.dtype.kind != "u":
        raise NotAnImage(f"{name}: a CMYK TIFF of shape {pixels.shape} and type {pixels.dtype}; try RGB")
    full = 256**pixels.dtype.itemsize - 1
    rgb = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for band in row_bands(*pixels.shape[:2]):
        ink = pixels[band, :, :4].astype(np.float32) / full
        rgb[band] = np.rint((1 - ink[..., :3]) * (1 - ink[..., 3:]) * full)
    return rgb
