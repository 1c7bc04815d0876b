"""The images that benchmarks send: those of a folder, or crops of images that installed packages ship."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from examples.samples import samples
from maskq.producer.client.paths import expand


def read_folder(folder: Path) -> list[bytes]:
    """Read the image files of a folder in the order of their names. Raises `InvalidJob` if it has none."""
    return [Path(path).read_bytes() for path in expand([str(folder)])]


def label(folder: Path | None) -> str:
    """Return the name of a case: the last two parts of the folder's path; without a folder, the size of the crops."""
    return "/".join(folder.resolve().parts[-2:]) if folder else "256²"


def crops(count: int, side: int = 256) -> list[bytes]:
    """Return `count` square crops of `side` pixels as 8-bit PNG files: the same ones every time."""
    rng = np.random.default_rng(0)
    images = [Image.open(path).convert("F") for path in samples()]
    return [_png(_crop(images[int(rng.integers(len(images)))], side, rng)) for _ in range(count)]


def _crop(image: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    left, top = (int(rng.integers(max(length - side, 1))) for length in image.size)
    return image.crop((left, top, left + side, top + side))


def _png(crop: Image.Image) -> bytes:
    values = np.asarray(crop)
    stretched = (255 * (values - values.min()) / max(np.ptp(values), 1)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(stretched).save(stream, "PNG")
    return stream.getvalue()


def blobs(seed: int, height: int = 256, width: int = 256) -> bytes:
    """Return a PNG of smooth blobs of 8 pixels; the file is about as large as a micrograph's."""
    noise = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()
