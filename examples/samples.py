"""Real images that installed packages ship, for `make run`: prints their paths.

stardist's `img2d.tif` is a fluorescence micrograph of nuclei with labels; scikit-image's are pictures of other kinds.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_WANTED = {"stardist": ("data/images/img2d.tif",), "skimage": ("data/coins.png", "data/cell.png")}


def samples() -> list[Path]:
    """The pictures that are here; packages are found, not imported."""
    found = []
    for package, names in _WANTED.items():
        spec = find_spec(package)
        if spec and spec.origin:
            found += [path for name in names if (path := Path(spec.origin).parent / name).is_file()]
    return found


if __name__ == "__main__":
    print(*samples())
