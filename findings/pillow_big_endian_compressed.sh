#!/usr/bin/env bash
# Guess: the byte order of a TIFF is the reader's affair, and makes no difference to the values.
# Instead: Pillow 13.0.0 swaps the bytes twice if a big-endian file (as ImageJ's Java writes them) is compressed and
# its samples are int16, int32 or float32: id 1 comes as 256 or as 16,777,216, and an image of floats as numbers near
# zero, without an error. Uncompressed ones, uint8 and uint16 are right; OpenCV 5.0.0 and tifffile 2026.3.3 read all.
# For label images: read them with tifffile; write uint16, or int32 in little-endian order.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 pillow==13.0.0 opencv-python-headless==5.0.0.93 imagecodecs==2026.3.6
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
from importlib.metadata import version
import cv2, numpy as np, tifffile
from PIL import Image

print({p: version(p) for p in ("pillow", "opencv-python-headless", "tifffile")})
ids = (np.arange(32 * 32) % 100).reshape(32, 32)
for dtype in ("uint8", "uint16", "int16", "int32", "float32"):
    for order in "<>":
        for compression in (None, "zlib", "lzw", "packbits"):
            path = f"{dtype}{'le' if order == '<' else 'be'}{compression}.tif"
            tifffile.imwrite(path, ids.astype(dtype), byteorder=order, compression=compression)
            assert np.array_equal(tifffile.imread(path), ids)
            assert np.array_equal(cv2.imread(path, cv2.IMREAD_UNCHANGED), ids)
            read = np.array(Image.open(path))
            if order == ">" and compression == "zlib":
                print(dtype, "big-endian, zlib: ids 0 to 3 come as", read.ravel()[:4].tolist())
            wrong = order == ">" and compression is not None and dtype in ("int16", "int32", "float32")
            assert np.array_equal(read, ids) != wrong, path
            if wrong and dtype != "float32":
                assert read.ravel()[1] == (256 if dtype == "int16" else 1 << 24)
            if wrong and dtype == "float32":
                assert abs(read).max() < 1e-30
EOF
