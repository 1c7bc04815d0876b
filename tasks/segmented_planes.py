"""The pixels that a job segmented, read again from the image file: for drawing."""

import sys
from collections.abc import Iterator

from maskq.producer.client.job import Result
from maskq.segmentation.arrays import Pixels
from maskq.segmentation.images import Image, ImageLimits, Stack, read_image
from maskq.segmentation.images.channels import choose_channels
from maskq.segmentation.images.planes import choose_planes

from .image_options import view_of

#: No limits here: the worker has accepted the image.
_NO_LIMITS = ImageLimits(max_bytes=sys.maxsize, max_pixels=sys.maxsize)


def segmented_planes(result: Result, image: bytes) -> Iterator[Pixels]:
    """The (H, W, C) pixels of the image, or of each plane of a stack, with the channels that were chosen.

    Background may be NaN. Raises `SegmentationError` if the image can't be decoded.
    """
    options, name = result.job.spec.options, result.job.spec.name
    for plane in _images(result, read_image(image, name, _NO_LIMITS, view_of(options))):
        chosen, _ = choose_channels(plane, options.channels, name, options.composite)
        yield chosen.pixels


def _images(result: Result, found: Image | Stack) -> Iterator[Image]:
    if isinstance(found, Image):
        yield found
        return
    chosen = choose_planes(found, result.job.spec.options.planes, result.job.spec.name)
    if isinstance(chosen, Image):
        yield chosen
    else:
        yield from (found.read(number - 1) for number in result.planes)
