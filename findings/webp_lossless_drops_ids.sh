#!/usr/bin/env bash
# Guess: lossless is lossless, so 32-bit ids seen as the four bytes of an RGBA picture come back from
# lossless WebP as they went in.
# Instead: the id's highest byte is the alpha channel, and it is 0 for every id below 2**24. Pillow 13.0.0,
# OpenCV 5.0.0 and pyvips 3.2.0 (libvips 8.18) clear the colour of pixels with alpha 0 when they write
# lossless WebP, so every object is gone and the picture is all background. imagecodecs 2026.3.6 keeps all,
# and so do Pillow and pyvips with exact=True; OpenCV has no such parameter here.
# The same bytes in PNG come back whole from each of them.
# For label images: use PNG or TIFF for ids, or write WebP with exact=True and compare after reading.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 pillow==13.0.0 opencv-python-headless==5.0.0.93 pyvips==3.2.0 pyvips-binary==8.18.7 imagecodecs==2026.3.6
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import io
import cv2, imagecodecs, numpy as np, pyvips
from importlib.metadata import version
from PIL import Image

ids = np.zeros((32, 32), np.uint32)
ids[2:9, 2:9], ids[12:20, 4:30], ids[24:30, 10:20] = 7, 300, 70001
rgba = ids.view(np.uint8).reshape(32, 32, 4)

def pillow(**k):
    b = io.BytesIO()
    Image.fromarray(rgba).save(b, **k)
    return np.asarray(Image.open(b))

def vips(suffix, **k):
    return pyvips.Image.new_from_buffer(pyvips.Image.new_from_array(rgba).write_to_buffer(suffix, **k), "").numpy()

def opencv(suffix, *k):
    ok, b = cv2.imencode(suffix, rgba, list(k))
    return cv2.imdecode(b, cv2.IMREAD_UNCHANGED)

lossless = (cv2.IMWRITE_WEBP_QUALITY, 101)
ways = {
    "Pillow webp": (lambda: pillow(format="WEBP", lossless=True), False),
    "Pillow webp exact": (lambda: pillow(format="WEBP", lossless=True, exact=True), True),
    "OpenCV webp": (lambda: opencv(".webp", *lossless), False),
    "pyvips webp": (lambda: vips(".webp", lossless=True), False),
    "pyvips webp exact": (lambda: vips(".webp", lossless=True, exact=True), True),
    "imagecodecs webp": (lambda: imagecodecs.webp_decode(imagecodecs.webp_encode(rgba, lossless=True)), True),
    "Pillow png": (lambda: pillow(format="PNG"), True),
    "OpenCV png": (lambda: opencv(".png"), True),
    "pyvips png": (lambda: vips(".png"), True),
}
print({p: version(p) for p in ("pillow", "opencv-python-headless", "pyvips", "pyvips-binary", "imagecodecs")})
for name, (way, kept) in ways.items():
    back = np.ascontiguousarray(way()).view(np.uint32)[..., 0]
    print(f"{name}: ids {np.unique(back).tolist()}")
    assert np.array_equal(back, ids) if kept else not back.any(), name
EOF
