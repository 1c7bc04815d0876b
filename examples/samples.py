"""Prints the paths of sample images from installed packages, for `make run`.

stardist's `img2d.tif` is a fluorescence micrograph of nuclei with labels; scikit-image's images are of other kinds.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_FILES = {"stardist": ("data/images/img2d.tif",), "skimage": ("data/coins.png", "data/cell.png")}


def samples() -> list[Path]:
    """The sample images that are installed. Packages are located without being imported."""
    paths: list[Path] = []
    for package, names in _FILES.items():
        spec = find_spec(package)
        if spec and spec.origin:
            paths += [path for name in names if (path := Path(spec.origin).parent / name).is_file()]
    return paths


if __name__ == "__main__":
    print(*samples())
