"""Label images and objects for results that no network computes."""

import io
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskq.producer.client.sources import shape_of
from maskq.producer.schema import MaskObject, Objects, Rle

#: A rectangular object: x, y, width, height, pixels.
Box: TypeAlias = tuple[int, int, int, int]
#: Height and width of the labels if the image has no readable header.
_DEFAULT_SIZE = 32, 32


def paint(image: bytes, boxes: Iterable[Box] | None, axes: str | None = None) -> NDArray[np.int32]:
    """Labels of the image's size with a rectangle per box, by default one in the centre; `axes` are those of an array.

    Raises `ValueError` if a box has no pixel inside the image.
    """
    height, width = map(int, shape.split("x")) if (shape := shape_of(image, axes)) else _DEFAULT_SIZE
    if boxes is None:
        boxes = [(width // 4, height // 4, (width + 1) // 2, (height + 1) // 2)]
    labels = np.zeros((height, width), np.int32)
    for number, (x, y, box_width, box_height) in enumerate(boxes, 1):
        rectangle = labels[max(y, 0) : max(y + box_height, 0), max(x, 0) : max(x + box_width, 0)]
        if not rectangle.size:
            raise ValueError(f"box {(x, y, box_width, box_height)} has no pixel in an image of {width} x {height}")
        rectangle[:] = number
    return labels


def describe(labels: NDArray[Any], model: str) -> Objects:
    """The objects of (H, W) integer labels, each with score 1."""
    height, width = labels.shape
    objects = []
    for number in np.unique(labels[labels > 0]).tolist():
        mask = labels == number
        rows, columns = np.nonzero(mask)
        left, top = int(columns.min()), int(rows.min())
        objects.append(
            MaskObject(
                id=number,
                score=1.0,
                bbox=(left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1),
                area=len(rows),
                centroid=(float(columns.mean()), float(rows.mean())),
                rle=Rle(size=(height, width), counts=_compress(_run_lengths(mask))),
            )
        )
    return Objects(height=height, width=width, model=model, objects=tuple(objects))


def encode(labels: NDArray[Any]) -> bytes:
    """The labels as a file: 16-bit PNG, or 32-bit TIFF beyond 65,535 objects."""
    stream = io.BytesIO()
    if labels.max(initial=0) > 65_535:
        Image.fromarray(labels.astype(np.int32)).save(stream, "TIFF")
    else:
        Image.fromarray(labels.astype(np.uint16)).save(stream, "PNG")
    return stream.getvalue()


def _run_lengths(mask: NDArray[Any]) -> list[int]:
    """Lengths of alternating runs in column-major order; the first run is background and may be empty."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    ends = [0, *([0] if pixels[0] else []), *changes.tolist(), len(pixels)]
    return [end - start for start, end in pairwise(ends)]


def _compress(counts: list[int]) -> str:
    """COCO's compressed counts: from the fourth on as differences to the last but one, in 6-bit characters.

    A character holds 5 bits, lowest first, and a bit that says whether more follow; the number is signed.
    """
    characters = []
    for index, count in enumerate(counts):
        number = count - counts[index - 2] if index > 2 else count
        while True:
            low, number = number & 31, number >> 5
            last = number == (-1 if low & 16 else 0)
            characters.append(chr(48 + low + (0 if last else 32)))
            if last:
                break
    return "".join(characters)
