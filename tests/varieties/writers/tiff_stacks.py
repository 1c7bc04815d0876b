"""TIFF by tifffile: stacks and channels of ImageJ and OME."""

import io

import numpy as np
import tifffile

from ..pictures import HEIGHT, WIDTH, Array, picture, planes
from .arrays import channels_first, hyperstack, squeezed, stack
from .sample import Kept, Sample, Samples, by
from .tiff_files import Options, pages

_IMAGEJ = Kept(by("tifffile"), "TIFF: ImageJ", "tifffile-imagej", ".tif")
_OME = Kept(by("tifffile"), "TIFF: OME-TIFF", "tifffile-ome", ".tif")
_ORDERS = "stack with channels, several orders"


def imagej() -> Samples:
    """One image, channels, stacks, hyperstacks."""
    deflate, truncate = {"compression": "deflate"}, {"truncate": True}
    um: Options = {"resolution": (4, 2), "metadata": {"unit": "um"}}
    yield _imagej("single", squeezed("grey16"), "", "one image", "grey16", um, pixel_size="0.5 0.25")
    micron: Options = {"resolution": (5, 5), "metadata": {"unit": "micron"}}
    yield _imagej("micron", squeezed("grey8"), "", "one image", "grey8", micron, pixel_size="0.2 0.2")
    yield _imagej("float", squeezed("float32"), "", "one image", "float32", deflate)
    yield _imagej("rgb", picture("rgb8"), "", "RGB", "rgb8", {})
    composite: Options = {**deflate, "metadata": {"axes": "CYX", "mode": "composite"}}
    yield _imagej("composite", channels_first("stains2-16bit"), "", "channels", "stains2-16bit", composite)
    labels: Options = {"metadata": {"axes": "CYX", "Labels": ["DAPI", "GFP"]}}
    yield _imagej("labels", channels_first("stains2"), "", "channels", "stains2", labels)
    frames = stack("grey8", 3)
    yield _imagej("z", frames, "ZYX", "stack", "grey8", {}, axes="Z=3")
    yield _imagej("t", frames, "TYX", "stack", "grey8", {}, axes="T=3")
    yield _imagej("compressed", frames, "ZYX", "stack", "grey8", deflate, axes="Z=3")
    yield _imagej("rgb-stack", planes("rgb8", 2), "ZYXS", "stack", "rgb8", {}, axes="Z=2")
    yield _imagej("tzc", hyperstack(), "TZCYX", "hyperstack", "stains2", deflate, axes="T=2 Z=3")
    one = "stack in one directory"
    yield _imagej("one-directory", frames, "ZYX", one, "grey8", truncate, axes="Z=3")
    stains = np.moveaxis(planes("stains2", 2), -1, 1)
    yield _imagej("one-directory-zc", stains, "ZCYX", one, "stains2", truncate, axes="Z=2")


def _imagej(file: str, pixels: Array, order: str, variety: str, name: str, options: Options, **right: str) -> Sample:
    """A file of ImageJ's kind with these axes, or those that tifffile takes."""
    stream = io.BytesIO()
    metadata: Options = {"metadata": {"axes": order}} if order else {}
    tifffile.imwrite(stream, np.ascontiguousarray(pixels), imagej=True, **metadata | options)
    return _IMAGEJ(file, stream.getvalue(), variety, name, **right)


def ome() -> Samples:
    """Orders of axes, names, sizes, pyramids, several images."""
    in_um = {f"PhysicalSize{axis}": size for axis, size in (("X", 0.25), ("Y", 0.5))}
    in_nm: Options = {f"PhysicalSize{axis}": size for axis, size in (("X", 250), ("Y", 500))}
    in_nm |= {"PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "nm"}
    size = {"pixel_size": "0.5 0.25"}
    yield _ome("grey", squeezed("grey16"), "YX", "one image", "grey16", in_um, **size)
    yield _ome("nanometres", squeezed("grey8"), "YX", "one image", "grey8", in_nm, **size)
    yield _ome("rgb", picture("rgb8"), "YXS", "RGB", "rgb8", {})
    yield _ome("rgb-z", planes("rgb8", 2), "ZYXS", "RGB stack", "rgb8", {}, axes="Z=2")
    names = {"Channel": {"Name": ["DAPI", "GFP", "Cy5"]}}
    yield _ome("c", channels_first("stains3-16bit"), "CYX", "channels", "stains3-16bit", names, names="DAPI;GFP;Cy5")
    yield _ome("z", stack("grey8", 3), "ZYX", "stack", "grey8", {}, axes="Z=3")
    named, tzc = {"Channel": {"Name": ["DAPI", "GFP"]}, **in_um}, hyperstack()
    for order, pixels, axes in (
        ("TZC", tzc, "T=2 Z=3"), ("TCZ", np.moveaxis(tzc, 2, 1), "T=2 Z=3"),
        ("CZT", np.moveaxis(tzc, (0, 1, 2), (2, 1, 0)), "Z=3 T=2"),
    ):  # fmt: skip
        yield _ome(order.lower(), pixels, f"{order}YX", _ORDERS, "stains2", named, axes=axes, names="DAPI;GFP", **size)
    shared: Options = {"photometric": "minisblack", "compression": "deflate"}
    grey, stream = squeezed("grey8"), io.BytesIO()
    with tifffile.TiffWriter(stream, ome=True) as file:
        file.write(grey, subifds=1, metadata={"axes": "YX", **in_um}, **shared, tile=(16, 16))
        file.write(grey[::2, ::2], subfiletype=1, **shared, tile=(16, 16))
    yield _OME("pyramid", stream.getvalue(), "pyramid in SubIFDs", "grey8", **size)
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, ome=True) as file:
        for pixels in (grey, grey[:, ::-1]):
            file.write(pixels, metadata={"axes": "YX"}, **shared)
    yield _OME.refused("two-images", stream.getvalue(), "two images (scenes)", "option scene", "MultiPageImage")
    data = pages((grey, {"description": _PLANES_IN_TWO_FILES}))
    yield _OME.refused("several-files", data, "planes in several files", "the others are in", "MultiPageImage")


def _ome(file: str, pixels: Array, order: str, variety: str, name: str, metadata: Options, **right: str) -> Sample:
    stream = io.BytesIO()
    photometric = "rgb" if order.endswith("S") else "minisblack"
    options: Options = {"ome": True, "photometric": photometric, "compression": "deflate"}
    tifffile.imwrite(stream, np.ascontiguousarray(pixels), metadata={"axes": order, **metadata}, **options)
    return _OME(file, stream.getvalue(), variety, name, **right)


_PLANES_IN_TWO_FILES = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1"><Image ID="Image:0">'
    f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="{WIDTH}" SizeY="{HEIGHT}" SizeZ="2" SizeC="1" '
    'SizeT="1"><TiffData FirstZ="0" IFD="0" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>'
    '<TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID FileName="b.ome.tif">urn:uuid:2</UUID></TiffData>'
    "</Pixels></Image></OME>"
)
