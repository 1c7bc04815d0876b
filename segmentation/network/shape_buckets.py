"""Shapes at which the network runs: an image's aligned shape, or the shape bucket that images of similar size share.

A device that batches pads images to buckets: images of one shape form batches, and cudnn searches once per shape. A
device that runs images one by one pads them to multiples of 8 only. The fields of an image don't depend on its padding
(`branched_erfnet.PaddingMask`).

The sides of buckets are the usual sides of cameras and crops, a factor of about √2 apart. A bucket is about twice as
long as wide at most, because images are, and because each further shape costs full batches and searches. So there are
39 buckets up to 2048×2048, 4 megapixels. Larger images are rare and costly: their sides grow by a sixteenth at most.
"""

#: Sides of an input are multiples of this, because the network halves an image three times.
STRIDE = 8
_SIDES = (128, 192, 256, 360, 520, 704, 1040, 1392, 2048)
_MAX_ASPECT_RATIO = 2.04
#: By area, smallest first.
_BUCKETS = sorted(
    (
        (height, width)
        for height in _SIDES
        for width in _SIDES
        if max(height, width) <= _MAX_ASPECT_RATIO * min(height, width)
    ),
    key=lambda shape: shape[0] * shape[1],
)


def round_up(side: int, step: int = STRIDE) -> int:
    """Round `side` up to a multiple of `step`."""
    return -(-side // step) * step


def aligned_shape(height: int, width: int) -> tuple[int, int]:
    """Round both sides up to multiples of 8: the shape of an image that shares no bucket."""
    return round_up(height), round_up(width)


def bucket_shape(height: int, width: int) -> tuple[int, int]:
    """The shape bucket of an image: the one of least area that holds it.

    Beyond 2048 pixels each side is rounded up by itself, with sixteen steps to every doubling.
    """
    return next(((h, w) for h, w in _BUCKETS if h >= height and w >= width), None) or (_fine(height), _fine(width))


def _fine(side: int) -> int:
    return round_up(side, max(STRIDE, 1 << max(0, (side - 1).bit_length() - 5)))
