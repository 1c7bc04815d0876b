"""What a job's options say of reading its image; workers and the overlays of results read it the same way."""

from maskq.producer.schema import Options
from maskq.segmentation.errors import NoSuchPlane
from maskq.segmentation.images import View


def view_of(options: Options) -> View:
    """The part of a file to read, and how. Raises `NoSuchPlane` for the region `tissue`, which only clients find."""
    if options.region == "tissue":
        raise NoSuchPlane(
            "the region tissue is found where the slide is opened: give its path to `maskq run` or `Client.submit`, "
            "with maskq[microscopy] installed; or give x, y, width and height"
        )
    return View(
        scene=options.scene,
        level=options.level,
        resolution=options.resolution,
        region=options.region,
        axes=options.axes,
        nan_as_background=options.nan_as_background,
    )
