#!/usr/bin/env bash
# Guess: SimpleITK reads a grey TIFF of 16 bits the same whether it is stored in strips or in tiles, or
# raises for the one it can't read.
# Instead: SimpleITK 2.5.7 reads a *tiled* grey TIFF through an 8-bit RGBA fallback: uint16 labels come as
# a picture of four components (H, W, 4) in uint8 that hold the high byte of the id. Ids 1 and 200 are
# background, 1000 is 3, and the alpha is 255 everywhere, so 'pixel > 0' is true for the whole image. Only
# a note on stderr tells. uint8 keeps its values but comes as RGBA, too; uint32 and float32 tiles raise.
# The same arrays in strips are read exactly. Pyramids and cloud-optimized TIFFs are always tiled.
# For label images: hand SimpleITK arrays (read with tifffile), or write strips, or NRRD or MetaImage; check
# the number of components after reading.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 SimpleITK==2.5.7
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import numpy as np, SimpleITK as sitk, tifffile
from importlib.metadata import version

print("SimpleITK", version("SimpleITK"), "tifffile", version("tifffile"))

def read(a, **k):
    tifffile.imwrite("a.tif", a, photometric="minisblack", **k)
    assert np.array_equal(tifffile.imread("a.tif"), a)
    try:
        image = sitk.ReadImage("a.tif")
    except RuntimeError:
        return None
    return sitk.GetArrayFromImage(image)

labels = np.zeros((256, 256), np.uint16)
labels[20:60, 20:60], labels[90:150, 90:150], labels[200:, 200:] = 1, 200, 1000
for dtype in ("uint8", "uint16", "uint32", "float32"):
    a = np.minimum(labels, 255).astype(dtype) if dtype == "uint8" else labels.astype(dtype)
    strips, tiles = read(a), read(a, tile=(64, 64))
    shown = "RuntimeError" if tiles is None else f"{tiles.dtype} {tiles.shape}, values {np.unique(tiles.reshape(-1, tiles.shape[-1]), axis=0).tolist()}"
    print(f"{dtype}: strips {strips.dtype} {strips.shape}, same: {np.array_equal(strips, a)}; tiles: {shown}")
    assert strips.dtype == dtype and np.array_equal(strips, a)
    if dtype == "uint8":
        assert tiles.shape == (256, 256, 4) and np.array_equal(tiles[..., 0], a)
    elif dtype == "uint16":
        assert tiles.shape == (256, 256, 4) and tiles.dtype == np.uint8
        assert np.array_equal(tiles[..., 0], a >> 8) and (tiles[..., 3] == 255).all()
    else:
        assert tiles is None
EOF
