"""The images that benchmarks send: those of a folder, or crops of pictures that installed packages ship."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from examples.samples import samples
from maskq.producer.client.paths import expand


def of_folder(folder: Path) -> list[bytes]:
    """The image files of a folder, in the order of their names. Raises `InvalidJob` where it has none."""
    return [path.read_bytes() for path in expand([str(folder)])]


def label(folder: Path | None) -> str:
    """What a case calls the images of a folder: its name after that of the folder it is in; without one, crops."""
    return "/".join(folder.resolve().parts[-2:]) if folder else "256²"


def crops(count: int, side: int = 256) -> list[bytes]:
    """`count` square crops of `side` pixels, as 8-bit PNG: the same ones every time."""
    rng = np.random.default_rng(0)
    pictures = [Image.open(path).convert("F") for path in samples()]
    return [_png(_crop(pictures[int(rng.integers(len(pictures)))], side, rng)) for _ in range(count)]


def _crop(picture: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    left, top = (int(rng.integers(max(length - side, 1))) for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def _png(crop: Image.Image) -> bytes:
    values = np.asarray(crop)
    stretched = (255 * (values - values.min()) / max(np.ptp(values), 1)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(stretched).save(stream, "PNG")
    return stream.getvalue()
