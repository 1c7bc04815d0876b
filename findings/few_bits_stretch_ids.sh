#!/usr/bin/env bash
# Guess: ids 0 to 14 in a grey file of 4 bits per pixel come back as 0 to 14.
# Instead: GDAL writes such files (NBITS) and reads the ids, but most readers treat them as brightness and
# stretch 4 bits to 8: id 1 becomes 17, 5 becomes 85. TIFF: libvips 8.18.7 and Pillow 13.0.0 stretch,
# tifffile 2026.3.3 and rasterio 1.4.4 don't, OpenCV 5.0.0 returns None. PNG: all of them stretch but
# rasterio, so imageio 2.38.1 gives ids for the TIFF and stretched ones for the PNG with the same pixels.
# 2 bits are multiplied by 85. 12 bits in TIFF: OpenCV 5.0.0 returns 16 times the value, Pillow the value.
# The objects' outlines are right, so only ids (classes, links to a table) go wrong.
# For label images: store 8 or 16 bits; after reading, divide by the step if BitsPerSample was below 8.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 rasterio==1.4.4 tifffile==2026.3.3 imagecodecs==2026.3.6 imageio==2.38.1 pyvips==3.2.0 pyvips-binary==8.18.7 opencv-python-headless==5.0.0.93 pillow==13.0.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import warnings
import cv2, imageio.v3 as iio, numpy as np, pyvips, rasterio, rasterio.shutil
from importlib.metadata import version
from PIL import Image

warnings.simplefilter("ignore")
print({p: version(p) for p in ("rasterio", "tifffile", "imageio", "pyvips-binary", "opencv-python-headless", "pillow")})

def gdal(path):
    with rasterio.open(path) as f:
        return f.read(1)

readers = {
    "gdal": gdal,
    "imageio": iio.imread,  # tifffile for TIFF, Pillow for PNG
    "pillow": lambda path: np.asarray(Image.open(path)),
    "vips": lambda path: pyvips.Image.new_from_file(path).numpy(),
    "opencv": lambda path: cv2.imread(path, cv2.IMREAD_UNCHANGED),
}
factor = {  # None: no image
    ("tif", 2): {"gdal": 1, "imageio": 1, "pillow": 85, "vips": 85, "opencv": None},
    ("tif", 4): {"gdal": 1, "imageio": 1, "pillow": 17, "vips": 17, "opencv": None},
    ("tif", 12): {"gdal": 1, "imageio": 1, "pillow": 1, "vips": None, "opencv": 16},
    ("png", 2): {"gdal": 1, "imageio": 85, "pillow": 85, "vips": 85, "opencv": 85},
    ("png", 4): {"gdal": 1, "imageio": 17, "pillow": 17, "vips": 17, "opencv": 17},
}
for (ext, bits), expected in factor.items():
    labels = np.zeros((64, 80), np.uint16 if bits > 8 else np.uint8)
    labels[4:20, 4:20], labels[30:40, 10:30] = 1, min(5, 2**bits - 1)
    size = {"width": 80, "height": 64, "count": 1, "dtype": labels.dtype}
    path = f"{bits}.{ext}"
    with rasterio.open("plain.tif" if ext == "png" else path, "w", driver="GTiff", nbits=bits, **size) as f:
        f.write(labels, 1)
    if ext == "png":
        rasterio.shutil.copy("plain.tif", path, driver="PNG", nbits=bits)
    got = {}
    for name, read in readers.items():
        try:
            a = read(path)
        except pyvips.Error:
            a = None
        got[name] = None if a is None else int(a[4, 4])
        assert a is None or np.array_equal(a, labels * got[name])
    print(f"{ext}, {bits} bits: id 1 is read as", got)
    assert got == expected
EOF
