"""Turns a Pillow image into the bytes of a file with the same pixels, as the worker would read a file of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ..errors import InvalidJob

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 0x112
#: Modes whose values are intensities and that a TIFF holds as they are. `LA` and `RGBA` are in it without their alpha.
_PLAIN = ("1", "L", "RGB", "I", "F")
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_BITS, _COMPRESSION, _UNCOMPRESSED, _SAMPLE_FORMAT, _SIGNED = 258, 259, 1, 339, 2


def picture_bytes(image: Image.Image, name: str) -> bytes:
    """The image as an uncompressed TIFF: upright, a palette and other colour spaces as RGB, alpha dropped.

    Raises `InvalidJob` if Pillow can't read its file, if its values are a negative, or if it is the first of several
    frames.
    """
    try:
        _check_tiff(image, name)
        image.load()
        frames = getattr(image, "n_frames", 1)
        # Of a camera's JPEG with several pictures (MPO), the first is the picture.
        if frames > 1 and image.tell() == 0 and image.format != "MPO":
            raise InvalidJob(
                f"{name}: {frames} frames; submit the file itself, or one frame: image.seek(number), then image.copy()"
            )
        picture = _intensities(_upright(image)).copy()
        picture.info = {}
        stream = io.BytesIO()
        picture.save(stream, "TIFF", compression="raw")
    except (InvalidJob, MemoryError):
        raise
    except Exception as error:  # Pillow reads the file only now, and raises nearly anything if it is damaged
        raise InvalidJob(f"{name}: Pillow can't read it: {type(error).__name__}: {error}") from error
    return stream.getvalue()


def _check_tiff(image: Image.Image, name: str) -> None:
    """Raises `InvalidJob` for the kinds of TIFF that Pillow (13.0) reads wrongly.

    Of WhiteIsZero with more than 8 bits, it does not turn the values round. Of an uncompressed file whose orientation
    tag swaps height and width, it takes the rows to be as long as the turned image's. Signed and float samples of a
    compressed big-endian file have their bytes swapped twice, and signed 8 bits are read as unsigned.
    """
    tags = getattr(image, "tag_v2", {})
    mapped = bool(getattr(image, "filename", "")) and [part[0] for part in getattr(image, "tile", ())] == ["raw"]
    if mapped and tags.get(_ORIENTATION) in (5, 6, 7, 8):
        raise InvalidJob(f"{name}: a TIFF with an orientation tag, which Pillow can mix up; submit the file itself")
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and (image.mode in ("I", "F") or image.mode.startswith("I;16")):
        raise InvalidJob(
            f"{name}: a WhiteIsZero TIFF, which Pillow opens as its negative; submit the file itself, whose values are "
            "turned round, or a picture that is turned round and made with Image.fromarray"
        )
    swapped = getattr(tags, "prefix", b"") == b"MM" and tags.get(_COMPRESSION, _UNCOMPRESSED) != _UNCOMPRESSED
    if swapped and image.mode in ("I", "F"):
        raise InvalidJob(f"{name}: a compressed big-endian TIFF, whose values Pillow mixes up; submit the file itself")
    if tags.get(_BITS) == (8,) and tags.get(_SAMPLE_FORMAT) == (_SIGNED,):
        raise InvalidJob(f"{name}: a TIFF of signed 8 bits, which Pillow takes for unsigned; submit the file itself")


def _upright(image: Image.Image) -> Image.Image:
    """The image turned by its Exif orientation; as it is if the Exif block is damaged, because its pixels are good."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        turn = None
    return image if turn is None else image.transpose(turn)


def _intensities(image: Image.Image) -> Image.Image:
    """The image in a mode of intensities without alpha: neither palette indices nor another colour space."""
    mode = image.mode
    if mode in _PLAIN or mode.startswith("I;16"):
        return image
    if mode in ("LA", "La"):
        return (image if mode == "LA" else image.convert("LA")).getchannel(0)
    # By way of RGBA: Pillow warns of a palette's transparency otherwise, and undoes premultiplied alpha only there.
    return (image.convert("RGBA") if mode in ("P", "PA", "RGBa") else image).convert("RGB")
