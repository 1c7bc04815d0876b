"""Converts label images to one number per object: colour codes, masks of foreground, numbers out of range."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as label_pieces

from .arrays import Labels
from .errors import InvalidDataset
from .images.image import Image
from .images.stored import palette_of
from .label_files import one_channel, read_values, refuse_other_black, whole_numbers

#: A number, or the red, green and blue of a colour.
Background: TypeAlias = int | tuple[int, int, int]
#: A picture has many colours of few pixels; a colour code does not.
_FEW_PIXELS = 4
#: More numbers than this, in at least so many pieces each, are a picture, too: classes are fewer, objects are whole.
_MAX_CLASSES, _PIECES_OF_GREY = 20, 10


@dataclass(frozen=True)
class Converted:
    """The labels of one file."""

    #: (H, W), 1 to n without gaps.
    labels: Labels
    #: Different numbers or colours in the file, without background.
    values: int
    #: Connected pieces of these, pixels touching at sides or corners.
    pieces: int

    @property
    def objects(self) -> int:
        """The number of objects."""
        return int(self.labels.max(initial=0))


def background_value(text: str) -> Background:
    """A background given as a number, or as a colour `#RRGGBB`. Raises `InvalidDataset`."""
    try:
        if not text.startswith("#"):
            return int(text)
        red, green, blue = bytes.fromhex(text[1:])
    except ValueError as error:
        raise InvalidDataset(f"background {text!r}: not a number, and not a colour such as #ffffff") from error
    return red, green, blue


def convert(path: Path, background: Sequence[Background] = (), *, by_piece: bool = False) -> Converted:
    """Number the objects of a label file: one for each different number or colour, in ascending order.

    With `by_piece`, each connected piece of one number or colour is an object. `background` are the numbers and colours
    that are no object, by default 0 and black; in a file of colours, a number is a level of grey. Raises an
    `ImageError`, or `InvalidDataset` if the file can't be a label image.
    """
    image = read_values(path)
    if not background:
        refuse_other_black(path, image)
    numbers, ignored = _numbers(image, background or (0,), path)
    found, index = np.unique(numbers, return_inverse=True)
    objects = ~np.isin(found, ignored)
    labels = np.where(objects, np.cumsum(objects), 0).astype(np.int32)[index.reshape(numbers.shape)]
    pieces = np.asarray(label_pieces(labels, connectivity=2), np.int32)  # type: ignore[no-untyped-call]
    values, count = int(objects.sum()), int(pieces.max())
    if values > _MAX_CLASSES and count >= _PIECES_OF_GREY * values:
        raise InvalidDataset(f"{path}: {values:,} numbers in {count:,} separate pieces: a picture in grey, not labels")
    return Converted(pieces if by_piece else labels, values, count)


def _numbers(image: Image, background: Sequence[Background], path: Path) -> tuple[NDArray[Any], list[int]]:
    """(H, W) a number for each number or colour of the file, and those of the background. Raises `InvalidDataset`."""
    palette, pixels = palette_of(path.read_bytes()), image.pixels
    values = one_channel(image)
    if values is None or (palette is None and pixels.shape[2] in (3, 4) and pixels.dtype.kind == "u"):
        numbers = _colours(pixels, path)
        ignored = [_code_of(value, pixels.dtype) for value in background]
        if not np.isin(numbers, ignored).any():
            raise InvalidDataset(
                f"{path}: no pixel has the colour of the background, black by default; give it: --background '#RRGGBB'"
            )
        return numbers, ignored
    ignored = [value for value in background if isinstance(value, int)]
    for colour in (value for value in background if not isinstance(value, int)):
        if palette is None:
            raise InvalidDataset(f"{path}: stores numbers, not colours; give the background as a number")
        ignored += np.flatnonzero((palette == np.array(colour)).all(axis=1)).tolist()
    return whole_numbers(values, path), ignored


def _colours(pixels: NDArray[Any], path: Path) -> NDArray[np.int64]:
    """(H, W, 3 or 4) colours → (H, W) a number for each colour. Raises `InvalidDataset` for a picture."""
    if pixels.shape[2] not in (3, 4) or pixels.dtype.kind not in "u" or pixels.dtype.itemsize > 2:
        raise InvalidDataset(f"{path}: {pixels.shape[2]} channels of {pixels.dtype}, not RGB of 8 or 16 bits")
    if pixels.shape[2] == 4 and pixels[..., 3].min() != pixels[..., 3].max():
        raise InvalidDataset(f"{path}: partly transparent; save it as RGB without alpha")
    numbers = _code(pixels[..., :3])
    areas = np.unique(numbers, return_counts=True)[1]
    few = int((areas <= _FEW_PIXELS).sum())
    if 2 * few > len(areas):
        raise InvalidDataset(
            f"{path}: {few:,} of its {len(areas):,} colours have at most {_FEW_PIXELS} pixels: a picture, or a colour "
            f"code that was smoothed, resized or saved as JPEG; save it anew without these"
        )
    return numbers


def _code(colours: NDArray[Any]) -> NDArray[np.int64]:
    """(…, 3) RGB of 8 or 16 bits → (…) one number for each colour; black is 0."""
    red, green, blue = (colours[..., channel].astype(np.int64) for channel in range(3))
    return np.asarray(red << 32 | green << 16 | blue)


def _code_of(value: Background, dtype: np.dtype[Any]) -> int:
    """The code of a level of grey, or of a colour of 8 bits in a file of `dtype`."""
    if isinstance(value, int):
        return value << 32 | value << 16 | value
    factor = 257 if dtype.itemsize == 2 else 1
    return int(_code(factor * np.array(value)))
