"""What a job's options say of reading its image; workers and the overlays of results read it the same way."""

import re

from maskq.producer.schema import Options
from maskq.segmentation.errors import InapplicableOption
from maskq.segmentation.images import View


def view_of(options: Options) -> View:
    """The part of a file to read, and how.

    Raises `InapplicableOption` for the region `tissue`, which only clients find, and `link` where there is one plane.
    """
    if options.link and options.planes not in (None, "all") and not re.fullmatch("[0-9]+-[0-9]+", options.planes):
        raise InapplicableOption(
            f"the option link joins the objects of several planes, but planes is {options.planes}, which makes one "
            "image: leave link out, or give planes as all or a range such as 3-10"
        )
    if options.region == "tissue":
        raise InapplicableOption(
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
        channels=options.channels,
    )
