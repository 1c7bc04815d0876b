#!/usr/bin/env bash
# Guess: the majority filter of scikit-image, used to smooth a label image, either works on the int32
# that skimage.measure.label makes, or refuses it.
# Instead: in scikit-image 0.26.0 the rank filters turn int32 into uint8 first, and how depends on the
# highest id. Up to 255 the ids stay as they are; from 256 on they are scaled from int32's whole range, so
# every object becomes 0 and the result is empty. A field with 255 cells passes, one with 256 comes back
# blank, behind a warning about 'possible precision loss' that both cases give.
# uint16 labels come through whole, slowly.
# For label images: relabel to uint16 before rank.majority or rank.modal, and check that the number of
# objects is the same afterwards.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 scikit-image==0.26.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import warnings
import numpy as np, skimage
from skimage.filters import rank
from skimage.measure import label

warnings.simplefilter("ignore")
box = np.ones((3, 3), np.uint8)

def field(n):  # n squares of 6 x 6 on a grid
    m = np.zeros((17 * 8, 17 * 8), bool)
    for i in range(n):
        r, c = divmod(i, 17)
        m[r * 8 + 1:r * 8 + 7, c * 8 + 1:c * 8 + 7] = True
    return label(m)

got = {}
for n in (255, 256):
    labels = field(n)
    assert labels.dtype == np.int32 and labels.max() == n
    out32, out16 = rank.majority(labels, box), rank.majority(labels.astype(np.uint16), box)
    got[n] = [len(np.unique(o[o > 0])) for o in (out32, out16)]
    print(f"scikit-image {skimage.__version__}: {n} objects, majority of int32 gives {got[n][0]} ({out32.dtype}), of uint16 {got[n][1]}")
assert got == {255: [255, 255], 256: [0, 256]}
EOF
