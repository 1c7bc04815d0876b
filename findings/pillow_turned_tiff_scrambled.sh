#!/usr/bin/env bash
# Guess: a TIFF with an Orientation tag is given as stored or turned; it does not matter how the file was opened.
# Instead: Pillow 13.0.0 turns it, but an uncompressed 8- or 16-bit file with orientation 5 to 8 that is opened by its
# name comes with the width and height exchanged too early: pixels are taken from the wrong rows, without an error. The
# same bytes in a BytesIO, the same file compressed, and int32 or float32 are right. OpenCV 5.0.0 turns orientations 2
# to 4 and gives no image for 5 to 8; tifffile 2026.3.3 gives all as stored. So an image and its label file, one of
# them with the tag, no longer lie on each other.
# For label images: write none with that tag; read with tifffile, and turn the array by the tag yourself.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 pillow==13.0.0 opencv-python-headless==5.0.0.93 imagecodecs==2026.3.6
cd "$dir"
"$dir/venv/bin/python" - <<'EOF' 2>/dev/null
import io
from importlib.metadata import version
from pathlib import Path
import cv2, numpy as np, tifffile
from PIL import Image

print({p: version(p) for p in ("pillow", "opencv-python-headless", "tifffile")})
stored = np.arange(1, 55).reshape(6, 9)
turned = {
    1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
    5: stored.T, 6: stored.T[:, ::-1], 7: stored.T[::-1, ::-1], 8: stored.T[::-1],
}

def name(array, tag):
    if array is None:
        return "none"
    if np.array_equal(array, turned[tag]):
        return "turned" if tag > 1 else "stored"
    if np.array_equal(array, stored):
        return "stored"
    same_pixels = np.array_equal(np.sort(array, axis=None), np.sort(stored, axis=None))
    return "scrambled" if same_pixels else "other"

for dtype in ("uint8", "uint16", "int32"):
    for compression in (None, "zlib"):
        rows = {}
        for tag in turned:
            path = Path(f"{dtype}-{compression}-{tag}.tif")
            tifffile.imwrite(path, stored.astype(dtype), compression=compression, extratags=[(274, "H", 1, tag, True)])
            by_name = Image.open(path)
            by_name.load()
            in_memory = Image.open(io.BytesIO(path.read_bytes()))
            in_memory.load()
            rows[tag] = {
                "pillow by name": name(np.array(by_name), tag),
                "pillow in memory": name(np.array(in_memory), tag),
                "opencv": name(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), tag),
                "tifffile": name(tifffile.imread(path), tag),
            }
        for tag in (2, 6):
            print(dtype, compression, f"orientation {tag}:", rows[tag])
        mapped = compression is None and dtype != "int32"
        for tag in (5, 6, 7, 8):
            assert rows[tag]["pillow by name"] == ("scrambled" if mapped else "turned"), rows[tag]
            assert rows[tag]["pillow in memory"] == "turned"
            assert rows[tag]["opencv"] == "none"
        for tag in (2, 3, 4):
            assert rows[tag]["pillow by name"] == rows[tag]["opencv"] == "turned"
        assert all(row["tifffile"] == "stored" for row in rows.values())
EOF
