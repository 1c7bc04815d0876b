#!/usr/bin/env bash
# Guess: pyvips writes uint16 labels to PNG, which has 16 bits, as they are; with bitdepth=16 for certain.
# Instead: pyvips 3.2.0 (libvips 8.18.7) takes an array as a picture of range 0 to 255 ('b-w'), so the PNG has
# 8 bits and every id above 255 is 255: separate objects become one. With bitdepth=16 the file has 16 bits,
# but the ids are first cut at 255 and then multiplied by 257. No warning, no error. WebP gets the high byte.
# TIFF keeps the ids. copy(interpretation="grey16") before writing gives the right PNG.
# OpenCV 5.0.0 keeps uint16 in PNG but cuts int32, as connectedComponents makes, at 255 and returns True;
# int64 goes to TIFF as int32, modulo 2**32. imageio and scikit-image raise for int32 in PNG.
# For label images: write uint16 and read one file back before writing a thousand.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 pyvips==3.2.0 pyvips-binary==8.18.7 opencv-python-headless==5.0.0.93 imagecodecs==2026.3.6 tifffile==2026.3.3 imageio==2.38.1
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import cv2, imagecodecs, imageio.v3 as iio, numpy as np, pyvips, tifffile
from importlib.metadata import version

print({p: version(p) for p in ("pyvips", "pyvips-binary", "opencv-python-headless", "imageio")})
labels = np.zeros((64, 64), np.uint16)
labels[2:9, 2:9], labels[12:20, 4:30], labels[24:40, 10:50], labels[50:60, 10:50] = 7, 300, 301, 60000

def png():
    with open("a.png", "rb") as f:
        return imagecodecs.png_decode(f.read())

def show(what, a):
    print(f"{what}: {a.dtype} {np.unique(a).tolist()}")
    return a

image = pyvips.Image.new_from_array(labels)
assert image.format == "ushort" and image.interpretation == "b-w"
cut = np.minimum(labels, 255)
image.write_to_file("a.png")
assert np.array_equal(show("pyvips, PNG", png()), cut)
image.write_to_file("a.png", bitdepth=16)
assert np.array_equal(show("pyvips, PNG, bitdepth=16", png()), cut * 257)
image.copy(interpretation="grey16").write_to_file("a.png")
assert np.array_equal(show("pyvips, PNG, as grey16", png()), labels)
webp = imagecodecs.webp_decode(image.write_to_buffer(".webp", lossless=True))
assert np.array_equal(show("pyvips, lossless WebP", webp[..., 0]), labels >> 8)
image.write_to_file("a.tif")
assert np.array_equal(show("pyvips, TIFF", tifffile.imread("a.tif")), labels)

components = cv2.connectedComponents((labels > 0).astype(np.uint8))[1]
assert components.dtype == np.int32
assert cv2.imwrite("a.png", labels) and np.array_equal(png(), labels)
assert cv2.imwrite("a.png", labels.astype(components.dtype))
assert np.array_equal(show("OpenCV, int32 to PNG", png()), cut)
wide = labels.astype(np.int64) + (labels > 0) * 2**32
assert cv2.imwrite("b.tif", wide)
assert np.array_equal(show("OpenCV, int64 (ids above 2**32) to TIFF", tifffile.imread("b.tif")), labels)
try:
    iio.imwrite("c.png", labels.astype(np.int32))
    raise SystemExit("imageio writes int32 now")
except OSError as error:
    print("imageio, int32 to PNG:", error)
EOF
