"""A job's work: the pixels that a network computes for it, by which clients take turns and are bounded.

An estimate: only the worker reads the image, and tells the ledger if there is much more to do (`Claims.weigh`).
"""

from ...schema import Options, Stage

#: The views of test-time augmentation.
VIEWS = 8
#: The work of a *large* job in each stage: workers keep a place for a small one. A network's work shows in its time,
#: a clustering's only partly.
LARGE = {Stage.EMBED: 8_000_000, Stage.CLUSTER: 32_000_000}
#: Pixels, about, of the objects that a model was trained on: a job's `diameter` enlarges its image to theirs.
_DIAMETER = 20.0
#: The bytes of a pixel in an image that is not compressed: 16 bits.
_PIXEL_BYTES = 2
#: No image that a worker takes has more pixels, enlarged as it may be.
_MAX_PIXELS = 10**9


def work_of(shape: str | None, size: int, options: Options) -> int:
    """Pixels times views of an image of `shape` (`HxW`; None if unknown) whose file has `size` bytes.

    A stack counts as a whole, as far as its size tells. Objects smaller than usual ones have their image enlarged.
    """
    height, width = map(int, shape.split("x")) if shape else (0, 0)
    stack = options.planes is not None or not shape
    pixels = max(height * width, size // _PIXEL_BYTES if stack else 0)
    enlarged = max(1.0, _DIAMETER / options.diameter) ** 2 if options.diameter else 1.0
    return int(min(pixels * enlarged, _MAX_PIXELS)) * (VIEWS if options.tta else 1)
