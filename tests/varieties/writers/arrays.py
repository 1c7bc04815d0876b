"""The test pictures in the shapes that writers take."""

import io
from typing import Any

import numpy as np
import pyvips
import rasterio
import rasterio.shutil
import SimpleITK
from PIL import Image

from .. import pictures
from ..pictures import HEIGHT, WIDTH, Array, picture, planes
from .sample import written


def squeezed(name: str) -> Array:
    """(H, W) if the picture has one channel, otherwise (H, W, C)."""
    pixels = picture(name)
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def channels_first(name: str) -> Array:
    """(C, H, W)."""
    return np.ascontiguousarray(np.moveaxis(picture(name), -1, 0))


def stack(name: str, count: int) -> Array:
    """(planes, H, W) of a picture with one channel."""
    return planes(name, count)[..., 0]


def hyperstack() -> Array:
    """(2, 3, 2, H, W): times, heights, two stains."""
    return np.moveaxis(planes("stains2", 6), -1, 1).reshape(2, 3, 2, HEIGHT, WIDTH)


def with_nan(name: str) -> Array:
    """(H, W) float pixels, twelve of them NaN."""
    pixels = squeezed(name)
    pixels[3:6, :4] = np.nan
    return pixels


def bgr(name: str) -> Array:
    """The picture with red and blue swapped, as OpenCV has them."""
    pixels = squeezed(name)
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])


def vips(name: str) -> Any:
    """The picture as a pyvips image."""
    pixels = squeezed(name)
    image = pyvips.Image.new_from_array(pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels)
    if name == "cmyk8":
        return image.copy(interpretation="cmyk")
    if pixels.dtype == np.uint16:
        return image.copy(interpretation="rgb16" if name.startswith("rgb") else "grey16")
    return image.copy(interpretation="srgb" if pixels.ndim == 3 and pixels.shape[2] > 2 else "b-w")


def pillow(name: str, mode: str | None = None) -> Image.Image:
    """The picture as a Pillow image; one of a palette, if its name begins with `colours`."""
    if not name.startswith("colours"):
        return Image.fromarray(squeezed(name), mode)
    index, colours = (
        (pictures.INDEX1, pictures.TWO_COLOURS) if name == "colours2" else (pictures.INDEX4, pictures.COLOURS)
    )
    image = Image.fromarray(index, "P")
    image.putpalette(colours.tobytes())
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """What Pillow writes."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(upright: Array, orientation: int) -> Array:
    """What has to be stored for a viewer that applies the Exif orientation to show `upright`."""
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.swapaxes(0, 1),
        6: np.rot90(upright), 7: np.rot90(upright, 2).swapaxes(0, 1), 8: np.rot90(upright, -1),
    }  # fmt: skip
    return np.ascontiguousarray(stored[orientation])


def gdal(suffix: str, driver: str, pixels: Array, **options: Any) -> bytes:
    """What GDAL writes of (H, W, C) pixels; options in lower case are rasterio's, others GDAL's."""
    height, width, count = pixels.shape
    source = {"height": height, "width": width, "count": count, "dtype": pixels.dtype}

    def write(path: str) -> None:
        if driver == "GTiff":
            with rasterio.open(path, "w", driver=driver, **source, **options) as file:
                file.write(np.moveaxis(pixels, -1, 0))
        else:
            with rasterio.MemoryFile() as memory, memory.open(driver="GTiff", **source) as file:
                file.write(np.moveaxis(pixels, -1, 0))
                rasterio.shutil.copy(file, path, driver=driver, **options)

    return written(suffix, write)


def simpleitk(
    suffix: str, pixels: Array, *, colours: bool = False, io_name: str = "", compressed: bool = False
) -> bytes:
    """What SimpleITK writes of (H, W), (planes, H, W), or with `colours` (H, W, 3) pixels."""
    image = SimpleITK.GetImageFromArray(pixels, isVector=colours)
    return written(suffix, lambda path: SimpleITK.WriteImage(image, path, useCompression=compressed, imageIO=io_name))
