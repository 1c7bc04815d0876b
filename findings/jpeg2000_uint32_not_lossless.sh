#!/usr/bin/env bash
# Guess: reversible JPEG 2000 keeps integers; a limit, if any, comes with large numbers and an error.
# Instead: with imagecodecs 2026.3.6 (OpenJPEG 2.5.4) *every* uint32 image is altered, even one that holds
# only 0: it comes back as all 1. Labels 0 to 3 come back as labels 0 to 3 in other places, with most
# pixels wrong, so neither the ids nor their number gives it away. tifffile 2026.3.3 with
# compression='jpeg2000' writes the same damage into a TIFF, also with reversible=True. The very same
# labels as int32 or uint16 come back exactly (int32 up to 2**24 - 1 at least).
# For label images: don't use JPEG 2000 for uint32; int32, or zlib, zstd or lerc with uint32, keep all.
# Read a label file back once and compare it before the array is thrown away.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 imagecodecs==2026.3.6
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import imagecodecs, numpy as np, tifffile
from importlib.metadata import version

print("imagecodecs", version("imagecodecs"), "tifffile", version("tifffile"), imagecodecs.jpeg2k_version())
labels = np.zeros((64, 64), np.uint32)
labels[8:24, 8:24], labels[30:50, 10:40], labels[2, 2] = 1, 2, 3

def wrong(a, **k):
    tifffile.imwrite("a.tif", a, **k)
    return int((tifffile.imread("a.tif") != a).sum())

empty = imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(np.zeros((64, 64), np.uint32), reversible=True))
print("an image of zeros comes back as", np.unique(empty).tolist())
back = imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(labels, reversible=True))
print("ids", np.unique(labels).tolist(), "come back as", np.unique(back).tolist(), "wrong pixels:", int((back != labels).sum()), "of", back.size)
jp2 = {"compression": "jpeg2000", "compressionargs": {"reversible": True}}
got = {t: wrong(labels.astype(t), **jp2) for t in ("uint32", "int32", "uint16", "uint8")}
print("wrong pixels in a TIFF with jpeg2000:", got)
others = {c: wrong(labels, compression=c) for c in ("zlib", "zstd", "lerc")}
print("uint32 with other compressions:", others)
assert (empty == 1).all()
assert np.array_equal(np.unique(back), np.unique(labels)) and (back != labels).sum() > back.size / 2
assert got["uint32"] > labels.size / 2 and got["int32"] == got["uint16"] == got["uint8"] == 0
big = labels.astype(np.int32) * (2**24 // 3)
assert wrong(big, **jp2) == 0 and not any(others.values())
EOF
