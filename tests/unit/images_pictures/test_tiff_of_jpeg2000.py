"""The colours of a TIFF whose tiles are JPEG 2000 are right whether the transform is in the codestream or not."""

import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage

from maskq.segmentation.errors import NotAnImage
from maskq.segmentation.images import ChannelKind, Image, read_image
from tests.image_files import Array, raw_tiff

ROWS, COLUMNS = np.mgrid[:16, :16]
COLOUR = np.dstack([10 * ROWS + 40, 200 - 9 * COLUMNS, 30 + 7 * COLUMNS + 5 * ROWS]).astype(np.uint8)
YCBCR = np.asarray(PillowImage.fromarray(COLOUR).convert("YCbCr"))
RGB_TAG, YCBCR_TAG = 2, 6


def tiff(pixels: Array, compression: int, photometric: int, *, transform: bool) -> bytes:
    body = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", mct=transform, level=0))
    bits = 8 * pixels.dtype.itemsize
    tags = {256: (4, [16]), 257: (4, [16]), 258: (3, [bits] * 3), 259: (4, [compression]), 262: (4, [photometric])}
    return raw_tiff({**tags, 277: (4, [3]), 278: (4, [16]), 279: (4, [len(body)])}, body)


def read(data: bytes) -> Image:
    image = read_image(data, "cells")
    assert isinstance(image, Image) and image.kind is ChannelKind.RGB
    return image


@pytest.mark.parametrize("photometric", [RGB_TAG, YCBCR_TAG])
def test_ycbcr_of_aperio_becomes_rgb(photometric: int) -> None:
    pixels = read(tiff(YCBCR, 33003, photometric, transform=False)).pixels
    assert np.abs(pixels.astype(int) - COLOUR).max() <= 4


@pytest.mark.parametrize("compression", [33004, 33005, 34712])
def test_ycbcr_by_the_tag_becomes_rgb(compression: int) -> None:
    pixels = read(tiff(YCBCR, compression, YCBCR_TAG, transform=False)).pixels
    assert np.abs(pixels.astype(int) - COLOUR).max() <= 4


@pytest.mark.parametrize("compression", [33003, 33005, 34712])
@pytest.mark.parametrize("photometric", [RGB_TAG, YCBCR_TAG])
def test_colours_that_the_codestream_transforms_are_not_transformed_again(compression: int, photometric: int) -> None:
    np.testing.assert_array_equal(read(tiff(COLOUR, compression, photometric, transform=True)).pixels, COLOUR)


@pytest.mark.parametrize("compression", [33004, 33005, 34712])
def test_rgb_without_a_transform_is_kept(compression: int) -> None:
    np.testing.assert_array_equal(read(tiff(COLOUR, compression, RGB_TAG, transform=False)).pixels, COLOUR)


def test_ycbcr_of_16_bits_and_reduced_colours_are_refused_by_name() -> None:
    with pytest.raises(NotAnImage, match="YCbCr in uint16; save it as RGB"):
        read(tiff(YCBCR.astype(np.uint16), 33003, YCBCR_TAG, transform=False))
    data = bytearray(tiff(YCBCR, 33003, YCBCR_TAG, transform=False))
    struct.pack_into("BB", data, data.index(b"\xff\x51") + 4 + 36 + 3 + 1, 2, 1)  # the second component's steps
    with pytest.raises(NotAnImage, match=r"reduced colours \(chroma\); save it with deflate or LZW"):
        read(bytes(data))
