"""NaN matters in the channels that are segmented, and in no others."""

from __future__ import annotations

import io

import numpy as np
import pytest

from maskq.segmentation.errors import NonFiniteImage, NoSuchChannel
from maskq.segmentation.images import Image, Stack, View, read_image
from maskq.segmentation.images.channels import choose_channels
from maskq.segmentation.images.plane_file import encode_plane
from maskq.segmentation.images.planes import project


def npy(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, pixels)
    return stream.getvalue()


def two() -> np.ndarray:
    """(2, 6, 5): the first channel is all NaN, the second has one infinite value."""
    pixels = np.ones((2, 6, 5), np.float32)
    pixels[0] = np.nan
    pixels[1, 2, 3] = np.inf
    return pixels


def read(pixels: np.ndarray, **view: object) -> Image:
    image = read_image(npy(pixels), "cells", view=View(axes="CYX", **view))  # type: ignore[arg-type]
    assert isinstance(image, Image)
    return image


def test_other_channels_may_be_nan() -> None:
    pixels = two()
    pixels[1] = 3
    image = read(pixels, channels=2)
    assert image.notes == ()
    assert np.isfinite(choose_channels(image, 2, "cells")[0].pixels).all()


@pytest.mark.parametrize("channels", [None, 1, (1, 2), 2])
def test_the_chosen_channels_have_to_be_finite(channels: object) -> None:
    with pytest.raises(NonFiniteImage):
        read(two(), channels=channels)


def test_background_counts_the_pixels_of_the_chosen_channels() -> None:
    image = read(two(), channels=2, nan_as_background=True)
    assert image.notes == ("1 of 30 pixels are NaN or infinite: background.",)
    assert not np.isinf(image.pixels).any()
    with pytest.raises(NonFiniteImage, match="all values are NaN or infinite"):
        read(two(), channels=1, nan_as_background=True)


def test_a_channel_that_is_not_there_is_named() -> None:
    with pytest.raises(NoSuchChannel, match="no channel 3"):
        read(two(), channels=3)


def test_planes_of_a_stack_and_their_own_files_are_checked_in_the_chosen_channels() -> None:
    volume = np.stack([two(), two()])
    volume[:, 1] = 1
    view = View(axes="ZCYX", channels=2)
    stack = read_image(npy(volume), "cells", view=view)
    assert isinstance(stack, Stack)
    plane = read_image(encode_plane(stack.read(1)), "cells", view=View(channels=2))
    assert isinstance(plane, Image) and np.isfinite(plane.pixels[..., 1]).all()
    for kind in ("max", "mean"):
        projected = project(stack, kind, [1, 2], "cells")
        assert (projected.pixels[..., 1] == 1).all()
    with pytest.raises(NonFiniteImage):
        read_image(encode_plane(stack.read(1)), "cells", view=View(channels=1))
