"""Which shapes the network is run at: an image's own, or a rung of a small ladder that images of like size share.

A device that batches pads to the ladder: batches form among images of one shape, and cudnn searches once a shape. A
device that runs one image at a time pads to whole cells of the network alone. What the network says of an image does
not depend on which (`network.Ends`).

Rungs of the ladder are a factor of about √2 apart and lie where the sides of cameras and crops do; a shape is about
twice as long as wide at most, for images are, and every shape more costs full batches and searches. So there are 39 up
to 2048×2048, 4 megapixels. What does not fit into that is rare and dear: its sides grow by a sixteenth at most.
"""

from __future__ import annotations

#: Every side of an input must be a multiple of this: the network's cells, as it halves an image three times.
STRIDE = 8
_SIDES = (128, 192, 256, 360, 520, 704, 1040, 1392, 2048)
#: A shape on the ladder is at most so many times as long as it is wide.
_SLIMMEST = 2.04
#: From the least area to the largest.
_SHAPES = sorted(
    ((height, width) for height in _SIDES for width in _SIDES if max(height, width) <= _SLIMMEST * min(height, width)),
    key=lambda shape: shape[0] * shape[1],
)


def round_up(side: int, step: int = STRIDE) -> int:
    """The next multiple of `step`, or `side` where it is one."""
    return -(-side // step) * step


def aligned_shape(height: int, width: int) -> tuple[int, int]:
    """The shape of an image that is run at its own: both sides the next multiples of 8."""
    return round_up(height), round_up(width)


def bucket_shape(height: int, width: int) -> tuple[int, int]:
    """The shape on the ladder that an image is padded to: the one of least area that holds it.

    Beyond the ladder there are sixteen rungs to every doubling of a side.
    """
    fitting = ((h, w) for h, w in _SHAPES if h >= height and w >= width)
    return next(fitting, None) or (_fine(height), _fine(width))


def _fine(side: int) -> int:
    return round_up(side, max(STRIDE, 1 << max(0, (side - 1).bit_length() - 5)))
