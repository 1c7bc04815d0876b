"""What a job's options say of reading its image; workers and the overlays of results read it the same way."""

from maskq.producer.schema import Options
from maskq.segmentation.images import View


def view_of(options: Options) -> View:
    """The part of a file to read, and how. The region `tissue` is found by clients; a worker reads the whole image."""
    return View(
        scene=options.scene,
        level=options.level,
        resolution=options.resolution,
        region=None if options.region == "tissue" else options.region,
        axes=options.axes,
        nan_as_background=options.nan_as_background,
    )
