#!/usr/bin/env bash
# Guess: a reader whose build lacks a TIFF file's compression raises, or returns nothing.
# Instead: libvips 8.18.7 (pyvips 3.2.0 with pyvips-binary, which has no Zstandard, LERC or JPEG 2000 for
# TIFF) returns an image of the right size and type that is all zeros. fail_on="error" raises for strips,
# but tiles are zeros all the same; not even pyvips' log, at debug level, holds a complaint.
# OpenCV 5.0.0 returns None for Zstandard, LERC and 16-bit JPEG 2000, but a black picture for 8-bit
# JPEG 2000. Pillow 13.0.0 and rasterio 1.4.4 either read each exactly or raise.
# For label images zeros are a valid answer, 'no object': such a file counts as an empty prediction. Check
# the compression (tifffile: page.compression) or write Deflate, which all of them have.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 imagecodecs==2026.3.6 pyvips==3.2.0 pyvips-binary==8.18.7 opencv-python-headless==5.0.0.93 pillow==13.0.0 rasterio==1.4.4
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import warnings
import cv2, numpy as np, pyvips, rasterio, tifffile
from importlib.metadata import version
from PIL import Image

warnings.simplefilter("ignore")
print({p: version(p) for p in ("pyvips", "pyvips-binary", "opencv-python-headless", "pillow", "rasterio", "tifffile")})
labels = np.zeros((256, 256), np.uint8)
labels[10:90, 10:90], labels[100:200, 50:240] = 1, 200

def vips(path, **k):
    return pyvips.Image.new_from_file(path, **k).numpy()

def gdal(path):
    with rasterio.open(path) as f:
        return f.read(1)

readers = {
    "vips": vips,
    "vips fail_on": lambda path: vips(path, fail_on="error"),
    "opencv": lambda path: cv2.imread(path, cv2.IMREAD_UNCHANGED),
    "pillow": lambda path: np.asarray(Image.open(path)),
    "gdal": gdal,
}

def outcome(read, path, a):
    try:
        got = read(path)
    except Exception:
        return "raises"
    if got is None:
        return "None"
    assert got.shape == a.shape and got.dtype == a.dtype
    return "same" if np.array_equal(got, a) else "zeros" if not got.any() else "other"

n = 0
for compression in ("zstd", "lerc", "jpeg2000", "deflate"):
    for dtype in ("uint8", "uint16"):
        for tile in (None, (64, 64)):
            a = labels.astype(dtype)
            path = f"{(n := n + 1)}.tif"
            tifffile.imwrite(path, a, photometric="minisblack", compression=compression, tile=tile)
            assert np.array_equal(tifffile.imread(path), a)
            got = {k: outcome(r, path, a) for k, r in readers.items()}
            print(compression, dtype, "tiles" if tile else "strips", got)
            if compression == "deflate":
                assert set(got.values()) == {"same"}
                continue
            assert got["vips"] == "zeros" and got["vips fail_on"] == ("zeros" if tile else "raises")
            assert got["opencv"] == ("zeros" if (compression, dtype) == ("jpeg2000", "uint8") else "None")
            assert got["pillow"] == ("same" if compression == "zstd" else "raises")
            assert got["gdal"] == ("raises" if compression == "jpeg2000" else "same")
EOF
