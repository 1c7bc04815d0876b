#!/usr/bin/env bash
# Guess: a reader that cannot give a TIFF of two channels refuses it; one that can gives both, or the first.
# Instead: OpenCV 5.0.0 gives one channel of 8 bits: of uint16 ids it keeps the high bytes, so all below 256 are
# background. SimpleITK 2.5.7 gives an array of the right size, in which the pixels of both channels follow each other
# in turn: the first row holds the left half of the first row of both. Neither says a word. It is the same for int32
# and float32 in SimpleITK, and for five channels. imageio and pyvips give both channels, Pillow raises.
# For label images: look at SamplesPerPixel before these two readers, or read with tifffile.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 opencv-python-headless==5.0.0.93 SimpleITK==2.5.7
cd "$dir"
"$dir/venv/bin/python" - <<'EOF' 2>/dev/null
from importlib.metadata import version
import cv2, numpy as np, SimpleITK, tifffile

print({p: version(p) for p in ("opencv-python-headless", "SimpleITK", "tifffile")})
first = np.zeros((16, 32))
first[4:8, 4:8], first[10:14, 20:28] = 200, 300
for channels in (2, 5):
    for dtype in ("uint16", "int32", "float32"):
        both = np.stack([first + number for number in range(channels)], axis=-1).astype(dtype)
        path = f"{dtype}-{channels}.tif"
        tifffile.imwrite(path, both, photometric="minisblack", planarconfig="contig")
        assert np.array_equal(tifffile.imread(path), both)
        itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))
        print(dtype, f"{channels} channels: SimpleITK", itk.shape, itk.dtype, "first row", itk[0, :6].tolist())
        assert itk.shape == first.shape and itk.dtype == dtype
        assert np.array_equal(itk[0], both[0].ravel()[:32])
        if dtype == "uint16" and channels == 2:
            cv = cv2.imread(path, cv2.IMREAD_UNCHANGED)
            print(dtype, "OpenCV", cv.shape, cv.dtype, "ids", np.unique(cv).tolist(), "stored", np.unique(first).tolist())
            assert cv.shape == first.shape and cv.dtype == np.uint8
            assert np.array_equal(cv, first.astype(np.uint16) >> 8)
EOF
