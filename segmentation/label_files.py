"""Reads label files for training and evaluation: one number per object, 0 is background.

The numbers are read as stored. What is no such file is refused, with what to do: a wrong number of objects would train
and score a model without any other sign.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Labels, Pixels
from .errors import InvalidDataset, NotAnImage
from .images import npy
from .images.image import ChannelKind, Image, Stack
from .images.stored import palette_of, read_stored

#: The largest label.
MAX_LABEL = int(np.iinfo(np.int32).max)
#: Largest number up to which every whole number has a float of its own, by bytes of the float.
_EXACT = {2: 2**11, 4: 2**24, 8: 2**53}
_WITH_ALPHA = (ChannelKind.GREY_ALPHA, ChannelKind.RGBA)


def read_labels(path: Path) -> Labels:
    """The (H, W) labels in a PNG, TIFF, BMP or NumPy file.

    Palettes give their indices, floats have to be whole numbers, several channels have to be equal. Raises an
    `ImageError`, or `InvalidDataset` for pixels that are no labels: colours, fractions, numbers outside 0 to 2³¹ - 1.
    """
    image = read_values(path)
    values = one_channel(image)
    refuse_other_black(path, image)
    if values is None:
        raise InvalidDataset(
            f"{path}: {image.pixels.shape[2]} channels of {image.pixels.dtype}, not one channel of numbers; if every "
            f"object has a colour of its own, convert the files: maskq labels {path.parent} --out NEW_FOLDER"
        )
    numbers = whole_numbers(values, path)
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high > MAX_LABEL:
        raise InvalidDataset(f"{path}: labels from {low} to {high}, outside 0 to {MAX_LABEL}; {_advice(low, path)}")
    return numbers.astype(np.int32)


def _advice(low: int, path: Path) -> str:
    if low >= 0:
        return f"number the objects anew: maskq labels {path.parent} --out NEW_FOLDER"
    return (
        f"if {low} marks background or pixels to ignore, make it background: "
        f"maskq labels {path.parent} --background 0 --background={low} --out NEW_FOLDER"
    )


def read_values(path: Path) -> Image:
    """The pixels of a label file as stored, of any type and number of channels.

    Raises an `ImageError`, or `InvalidDataset` for a stack or an array of other axes.
    """
    data = path.read_bytes()
    try:
        image = read_stored(data, str(path))
    except NotAnImage as error:
        if not data.startswith(npy.MAGIC):
            raise
        raise InvalidDataset(
            f"{path}: not a NumPy array (H, W) of numbers; save the labels of each plane as a file of its own"
        ) from error
    if isinstance(image, Stack):
        raise InvalidDataset(
            f"{path}: a stack of {lengths(image)}; save the labels of each plane as a file of its own, "
            f"named as its image"
        )
    return image


def refuse_other_black(path: Path, image: Image) -> None:
    """Raises `InvalidDataset` if the file has a palette whose black, most likely background, is not number 0.

    Programs that shrink PNGs replace RGB by a palette of any order.
    """
    palette = palette_of(path.read_bytes())
    if palette is None or not palette[:1].any():
        return
    black = np.flatnonzero(~palette.any(axis=1))
    used = black[np.isin(black, image.pixels)]
    if used.size:
        raise InvalidDataset(
            f"{path}: number {used[0]} of its palette is black, and number 0 is not: which is background? Say it: "
            f"maskq labels {path.parent} --background {used[0]} --out NEW_FOLDER"
        )


def lengths(stack: Stack) -> str:
    """A stack's axes with their lengths, such as `Z=30, T=2`."""
    return ", ".join(f"{axis}={length}" for axis, length in zip(stack.axes, stack.shape, strict=True))


def one_channel(image: Image) -> Pixels | None:
    """(H, W) values of an image whose channels, except an opaque alpha, are all equal; None for any other."""
    pixels = image.pixels
    if image.kind in _WITH_ALPHA and pixels[..., -1].min() == pixels[..., -1].max():
        pixels = pixels[..., :-1]
    first: Pixels = pixels[..., 0]
    return first if pixels.shape[2] == 1 or (pixels == pixels[..., :1]).all() else None


def whole_numbers(values: Pixels, path: Path) -> NDArray[Any]:
    """The values as integers. Raises `InvalidDataset` for fractions, and for floats too large to be exact."""
    if values.dtype.kind != "f":
        return values.astype(np.uint8) if values.dtype.kind == "b" else values
    fractions = values[values != np.rint(values)]
    if fractions.size:
        raise InvalidDataset(
            f"{path}: {fractions.size:,} values are no whole numbers, such as {float(fractions[0]):g}; labels are "
            f"whole numbers: are these probabilities, or labels resized by interpolation (use nearest neighbour)?"
        )
    exact = _EXACT[values.dtype.itemsize]
    largest = float(np.abs(values).max())
    if largest > exact:
        raise InvalidDataset(
            f"{path}: labels up to {largest:.0f} as {values.dtype}, exact only to {exact:,}; save them as integers"
        )
    return values.astype(np.int64)
