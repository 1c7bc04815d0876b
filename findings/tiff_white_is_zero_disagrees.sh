#!/usr/bin/env bash
# Guess: one mask in one TIFF file is the same mask in every reader; at worst, all turn WhiteIsZero round.
# Instead: tifffile 2026.3.3 writes a bool array as WhiteIsZero when told nothing else, and readers
# disagree on what that means. Pillow 13.0.0, OpenCV 5.0.0 and libvips 8.18.7 turn the mask round (background
# is foreground), tifffile, scikit-image 0.26.0 and rasterio 1.4.4 (GDAL) don't. With labels stored so,
# the number of bits decides: Pillow and OpenCV turn 8 bits round and leave 16, libvips turns uint8, uint16
# and uint32 round; float32 none. No reader warns.
# For label images: pass photometric="minisblack", for bool, too; read the tag before comparing two tools.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 pyvips==3.2.0 pyvips-binary==8.18.7 opencv-python-headless==5.0.0.93 pillow==13.0.0 rasterio==1.4.4 scikit-image==0.26.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import warnings
import cv2, numpy as np, pyvips, rasterio, skimage.io, tifffile
from importlib.metadata import version
from PIL import Image

warnings.simplefilter("ignore")
print({p: version(p) for p in ("tifffile", "pyvips-binary", "opencv-python-headless", "pillow", "rasterio", "scikit-image")})
labels = np.zeros((64, 64), np.uint8)
labels[8:20, 8:20] = 1

def gdal(path):
    with rasterio.open(path) as f:
        return f.read(1)

readers = {
    "tifffile": tifffile.imread,
    "skimage": skimage.io.imread,
    "gdal": gdal,
    "pillow": lambda path: np.asarray(Image.open(path)),
    "opencv": lambda path: cv2.imread(path, cv2.IMREAD_UNCHANGED),
    "vips": lambda path: pyvips.Image.new_from_file(path).numpy(),
}
turned = {
    "bool": {"pillow", "opencv", "vips"},
    "uint8": {"pillow", "opencv", "vips"},
    "uint16": {"vips"},
    "uint32": {"vips"},
    "float32": set(),
}
for dtype, expected in turned.items():
    path = f"{dtype}.tif"
    if dtype == "bool":
        tifffile.imwrite(path, labels.astype(bool))  # nothing said about the meaning of 0
    else:
        tifffile.imwrite(path, labels.astype(dtype), photometric="miniswhite")
    with tifffile.TiffFile(path) as t:
        assert t.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
    areas = {}
    for name, read in readers.items():
        if dtype == "uint32" and name == "pillow":
            continue  # raises
        got = read(path)
        areas[name] = int((got == got.max()).sum())
    print(f"{dtype}: object of 144 pixels has", areas)
    assert {k for k, v in areas.items() if v != 144} == expected
    assert all(areas[k] == 64 * 64 - 144 for k in expected)
EOF
