#!/usr/bin/env bash
# Guess: a PGM file whose header names the largest id as its maxval gives the ids as they are stored.
# Instead: Pillow 13.0.0, and imageio 2.38.1 and scikit-image 0.26.0 that read with it, stretch maxval to 255 or
# 65,535: with maxval 100 id 1 comes as 3 and 60 as 153; with 1,000 id 300 comes as 19,660. OpenCV 5.0.0 gives the ids.
# By the format's words they are grey values in proportion to maxval, so neither is wrong, and nothing is reported.
# For label images: write 255 or 65535 as maxval, or another format.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 pillow==13.0.0 opencv-python-headless==5.0.0.93 imageio==2.38.1 scikit-image==0.26.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
from importlib.metadata import version
from pathlib import Path
import cv2, imageio.v3, numpy as np, skimage.io
from PIL import Image

print({p: version(p) for p in ("pillow", "opencv-python-headless", "imageio", "scikit-image")})
readers = {
    "pillow": lambda path: np.array(Image.open(path)),
    "imageio": imageio.v3.imread,
    "skimage": skimage.io.imread,
    "opencv": lambda path: cv2.imread(path, cv2.IMREAD_UNCHANGED),
}
cases = {100: ([0, 1, 2, 60, 100], [0, 3, 5, 153, 255]), 1000: ([0, 1, 2, 300, 1000], [0, 66, 131, 19660, 65535])}
for maxval, (ids, stretched) in cases.items():
    path = f"{maxval}.pgm"
    Path(path).write_bytes(b"P5\n5 1\n%d\n" % maxval + np.array([ids], ">u2" if maxval > 255 else "u1").tobytes())
    for reader, read in readers.items():
        found = read(path).ravel().tolist()
        print(f"maxval {maxval}, stored {ids}: {reader} {found}")
        assert found == (ids if reader == "opencv" else stretched)
for maxval in (255, 65535):
    path = f"{maxval}.pgm"
    ids = [0, 1, 2, 60, 100]
    Path(path).write_bytes(b"P5\n5 1\n%d\n" % maxval + np.array([ids], ">u2" if maxval > 255 else "u1").tobytes())
    assert all(read(path).ravel().tolist() == ids for read in readers.values())
EOF
