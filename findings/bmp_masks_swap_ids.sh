#!/usr/bin/env bash
# Guess: a 32-bit BMP file that states where red, green and blue lie (BI_BITFIELDS) has the same colours in
# every reader, or is refused.
# Instead: with the 40-byte header and masks in the order red, green, blue, OpenCV 5.0.0, GDAL (rasterio 1.4.4)
# and SimpleITK 2.5.7 ignore the masks and return red and blue swapped; Pillow 13.0.0 raises. imagecodecs
# 2026.3.6 gets the colours right, but adds an alpha channel of values that the file doesn't hold. With the
# 108-byte header OpenCV, Pillow and imagecodecs are right, GDAL and SimpleITK refuse.
# Where ids are stored as colours (id = R + 256 G + 65536 B), a swap gives other ids and no error.
# For label images: PNG or TIFF; if BMP must be read, check biCompression and the masks.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 opencv-python-headless==5.0.0.93 pillow==13.0.0 rasterio==1.4.4 SimpleITK==2.5.7 imagecodecs==2026.3.6
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import struct, warnings
import cv2, imagecodecs, numpy as np, rasterio, SimpleITK as sitk
from importlib.metadata import version
from PIL import Image

warnings.simplefilter("ignore")
print({p: version(p) for p in ("opencv-python-headless", "pillow", "rasterio", "SimpleITK", "imagecodecs")})
ids = np.full((8, 8), 50, np.uint32)
ids[2:6, 2:6] = 70001
colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1)

def bmp(path, masks, alpha):  # a 40-byte header with three masks, or the 108-byte one with four
    pixels = sum(c << (m & -m).bit_length() - 1 for c, m in zip(np.moveaxis(colours, -1, 0), masks)) | (255 << 24 if alpha else 0)
    data = pixels[::-1].astype("<u4").tobytes()
    info = struct.pack("<IiiHHIIiiII3I", 108 if alpha else 40, 8, 8, 1, 32, 3, len(data), 2835, 2835, 0, 0, *masks)
    if alpha:
        info += struct.pack("<II48x", 255 << 24, 0x73524742)
    with open(path, "wb") as f:
        f.write(struct.pack("<2sIII", b"BM", 14 + len(info) + len(data), 0, 14 + len(info)) + info + data)

def gdal(path):
    with rasterio.open(path) as f:
        return np.moveaxis(f.read(), 0, -1)

def raw(path):
    with open(path, "rb") as f:
        return imagecodecs.bmp_decode(f.read())

readers = {
    "opencv": lambda path: cv2.imread(path, cv2.IMREAD_COLOR)[..., ::-1],
    "gdal": gdal,
    "sitk": lambda path: sitk.GetArrayFromImage(sitk.ReadImage(path)),
    "pillow": lambda path: np.asarray(Image.open(path)),
    "imagecodecs": raw,
}
swapped, right, raises = "swapped", "right", "raises"
bgr, rgb = (0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000)
for masks, alpha, expected in (
    (bgr, False, [right] * 5),
    (rgb, False, [swapped, swapped, swapped, raises, right]),
    (rgb, True, [right, raises, raises, right, right]),
):
    bmp("a.bmp", masks, alpha)
    got = []
    for name, read in readers.items():
        try:
            a = read("a.bmp")
        except Exception:
            got.append(raises)
            continue
        r, g, b = np.moveaxis(a[..., :3].astype(np.uint32), -1, 0)
        found = r + 256 * g + 65536 * b
        got.append(right if np.array_equal(found, ids) else swapped if np.array_equal(b + 256 * g + 65536 * r, ids) else "other")
        print(f"masks {[hex(m) for m in masks]}, {'108' if alpha else '40'} bytes: {name} ids {np.unique(found).tolist()}, alpha {np.unique(a[..., 3]).tolist() if a.shape[-1] == 4 else 'none'}")
        if name == "imagecodecs":
            assert a.shape[-1] == 4 and (a[..., 3].max() < 255 or alpha)
    assert got == expected, got
EOF
