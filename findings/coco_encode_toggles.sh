#!/usr/bin/env bash
# Guess: encoding a uint8 mask as COCO RLE takes every non-zero pixel as foreground, so a crop of a
# label image with ids 1 and 2, or a grey mask with soft edges, becomes the union of its objects.
# Instead: pycocotools 2.0.11 and faster-coco-eval 1.8.0 end a run at every *change* of value and
# alternate background and foreground. Two cells that touch down a border come back with the second one
# missing and the background after it filled: 12 pixels instead of 16, and not the right ones. No error
# is raised. hotcoco 1.3.0 encodes the 16 pixels. A mask of 0 and 255 is right in all three, which hides it.
# For label images: compare first (labels == i, or labels > 0), then encode; never pass grey values.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 pycocotools==2.0.11 faster-coco-eval==1.8.0 hotcoco==1.3.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import numpy as np
from importlib.metadata import version
import pycocotools.mask as pyc
import faster_coco_eval.core.mask as fast
import hotcoco.mask as hot

labels = np.zeros((4, 6), np.uint8, order="F")
labels[:, 1:3] = 1
labels[:, 3:5] = 2
grey = np.zeros((4, 6), np.uint8, order="F")
grey[1:3, 1:4] = [[10, 200, 30], [90, 255, 40]]
print("true row of the label crop:", (labels[0] > 0).astype(int), "pixels:", (labels > 0).sum())
got = {}
for name, m in (("pycocotools", pyc), ("faster-coco-eval", fast), ("hotcoco", hot)):
    rle = m.encode(labels)
    got[name] = (m.decode(rle)[0].tolist(), int(m.area(rle)), int(m.area(m.encode(grey))))
    print(f"{name} {version(name)}: row {got[name][0]}, pixels {got[name][1]}; grey mask of 6 pixels: {got[name][2]}")
    clean = np.asfortranarray((labels > 0).astype(np.uint8))
    assert (m.decode(m.encode(clean)) == clean).all() and m.area(m.encode(clean * 255)) == 16
for name in ("pycocotools", "faster-coco-eval"):
    assert got[name][:2] == ([0, 1, 1, 0, 0, 1], 12) and got[name][2] != 6
assert got["hotcoco"] == ([0, 1, 1, 1, 1, 0], 16, 6)
EOF
