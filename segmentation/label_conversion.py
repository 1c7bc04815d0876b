"""Converts label images to one number per object: colour codes, masks of foreground, numbers out of range."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as label_pieces

from .arrays import Labels
from .errors import InvalidDataset
from .label_files import one_channel, read_values, refuse_other_black, whole_numbers

#: A picture has many colours of few pixels; a colour code does not.
_FEW_PIXELS = 4


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


def background_value(text: str) -> int:
    """A background given as a number, or as a colour `#RRGGBB`, which becomes a number. Raises `InvalidDataset`."""
    try:
        return _code(np.array([list(bytes.fromhex(text[1:]))]))[0] if text.startswith("#") else int(text)
    except (ValueError, IndexError) as error:
        raise InvalidDataset(f"background {text!r}: not a number, and not a colour such as #ffffff") from error


def convert(path: Path, background: Sequence[int] = (), *, by_piece: bool = False) -> Converted:
    """Number the objects of a label file: one for each different number or colour, in ascending order.

    With `by_piece`, each connected piece of one number or colour is an object. `background` are the numbers that are
    no object, by default 0; those of 8-bit colours are 65536 R + 256 G + B. Raises an `ImageError`, or `InvalidDataset`
    if the file can't be a label image.
    """
    image = read_values(path)
    if not background:
        refuse_other_black(path, image)
        background = (0,)
    values = one_channel(image)
    if values is not None:
        numbers = whole_numbers(values, path)
    else:
        numbers = _colours(image.pixels, path)
        if not np.isin(numbers, background).any():
            raise InvalidDataset(
                f"{path}: no pixel is black; give the colour of the background: --background '#RRGGBB'"
            )
    found, index = np.unique(numbers, return_inverse=True)
    objects = ~np.isin(found, background)
    labels = np.where(objects, np.cumsum(objects), 0).astype(np.int32)[index.reshape(numbers.shape)]
    pieces = np.asarray(label_pieces(labels, connectivity=2), np.int32)  # type: ignore[no-untyped-call]
    return Converted(pieces if by_piece else labels, int(objects.sum()), int(pieces.max()))


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
    bits = 8 * colours.dtype.itemsize if colours.dtype.kind == "u" else 8
    red, green, blue = (colours[..., channel].astype(np.int64) for channel in range(3))
    return np.asarray(red << 2 * bits | green << bits | blue)
