"""Binary PGM and PPM of 8 and 16 bits are read as stored; text ones are refused by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskq.segmentation.errors import EmptyImage, ImageTooLarge, MultiPageImage, NotAnImage, TruncatedImage
from maskq.segmentation.images import ChannelKind, Image, ImageLimits, read_image
from tests.image_files import Array

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def pnm(pixels: Array, highest: int = 0, separator: str = "\n") -> bytes:
    height, width, channels = pixels.shape if pixels.ndim == 3 else (*pixels.shape, 1)
    highest = highest or np.iinfo(pixels.dtype).max
    kind = {1: "P5", 3: "P6"}[channels]
    header = separator.join([kind, str(width), str(height), str(highest)])
    return header.encode() + b"\n" + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
    ),
    st.sampled_from([" ", "\n", "\r\n", "\t", " # by a microscope\n", "\n# one\n# two\n"]),
)
def test_values_are_read_as_stored(pixels: Array, separator: str) -> None:
    image = read_image(pnm(pixels, separator=separator))
    assert isinstance(image, Image)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.kind is (ChannelKind.GREY if pixels.shape[2] == 1 else ChannelKind.RGB)
    assert image.pixels.dtype == pixels.dtype


def test_12_bits_keep_their_values() -> None:
    image = read_image(pnm(GREY.astype(np.uint16) * 80, 4095))
    assert isinstance(image, Image) and image.pixels.max() == 47 * 80


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (pnm(GREY)[:-1], TruncatedImage),
        (b"P5 8", TruncatedImage),
        (b"P5\n0 6\n255\n", EmptyImage),
        (pnm(GREY) + pnm(GREY), MultiPageImage),
        (b"P2\n2 1\n9\n1 2\n", NotAnImage),
        (b"P3\n1 1\n9\n1 2 3\n", NotAnImage),
        (b"P5LVP is no picture", NotAnImage),
    ],
)
def test_others_are_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^cells: "):
        read_image(data, "cells")


def test_a_picture_over_the_limit_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match=rf"{GREY.size} pixels, over the limit of {GREY.size - 1} pixels"):
        read_image(pnm(GREY), limits=ImageLimits(max_pixels=GREY.size - 1))
