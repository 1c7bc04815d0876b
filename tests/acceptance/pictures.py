"""Real images with ground truth that any machine can install: pieces of stardist's micrograph of nuclei."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

_SIDE = 170


@cache
def _micrograph() -> tuple[np.ndarray, np.ndarray]:
    spec = find_spec("stardist")  # found, not imported
    assert spec and spec.origin, "stardist is among the dev requirements"
    folder = Path(spec.origin).parent / "data" / "images"
    return tifffile.imread(folder / "img2d.tif"), tifffile.imread(folder / "mask2d.tif")


def ten_pieces(folder: Path) -> list[tuple[Path, np.ndarray]]:
    """Ten image files of several formats and sizes in `folder`, each with its labels."""
    image, labels = _micrograph()
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for n in range(10):
        size = _SIDE + 16 * n
        top, left = (n * 61) % (image.shape[0] - size), (n * 97) % (image.shape[1] - size)
        piece, truth = (a[top : top + size, left : left + size] for a in (image, labels))
        found.append((_write(folder / f"piece{n}", piece, n), truth))
    return found


def _write(stem: Path, piece: np.ndarray, n: int) -> Path:
    eight_bit = (255.0 * (piece - piece.min()) / np.ptp(piece)).astype(np.uint8)
    match n % 4:
        case 0:
            Image.fromarray(piece.astype(np.uint16)).save(path := stem.with_suffix(".png"))
        case 1:
            tifffile.imwrite(path := stem.with_suffix(".tif"), piece.astype(np.float32))
        case 2:
            Image.fromarray(np.stack([eight_bit] * 3, -1)).save(path := stem.with_suffix(".webp"), lossless=True)
        case _:
            np.save(path := stem.with_suffix(".npy"), piece)
    return path
