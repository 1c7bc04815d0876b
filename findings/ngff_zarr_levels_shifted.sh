#!/usr/bin/env bash
# Guess: every downsampling method of ngff-zarr puts the pixels of a smaller level where the level's translation says.
# Instead: ngff-zarr 0.50.0 writes the same translation, (factor - 1) / 2 pixels, for all of them, but two methods take
# the first pixel of each block: DASK_IMAGE_NEAREST and DASK_IMAGE_GAUSSIAN. What they show lies .5, 1.5 and 3.5 pixels
# of the full image off at factors 2, 4 and 8, so that labels made smaller by one method do not lie on an image that
# was made smaller by another. DASK_IMAGE_MODE, ITKWASM_LABEL_IMAGE and the BIN_SHRINK methods are right.
# For label images: DASK_IMAGE_MODE or ITKWASM_LABEL_IMAGE, and neither of the two methods for the image below them.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 ngff-zarr==0.50.0 dask-image==2026.5.0 itkwasm-downsample==2.0.2 zarr==3.1.6
cd "$dir"
"$dir/venv/bin/python" - <<'EOF' 2>/dev/null
from importlib.metadata import version
import ngff_zarr, numpy as np
from scipy import ndimage

print({p: version(p) for p in ("ngff-zarr", "dask-image", "itkwasm-downsample")})
random = np.random.default_rng(0)
labels = np.zeros((1024, 1024), np.uint16)
for number in range(256):  # rectangles at any place within a grid of 64 pixels
    (y, x), (h, w) = random.integers(0, 20, 2), random.integers(20, 41, 2)
    cell = labels[number // 16 * 64 :, number % 16 * 64 :]
    cell[y : y + h, x : x + w] = number + 1
image = (labels > 0).astype(np.float32)
centres = np.array(ndimage.center_of_mass(image, labels, range(1, 257)))

def shift(method):
    """By how many pixels of the full image the objects of each level lie off, on average."""
    source = image if "GAUSSIAN" in method or "SHRINK" in method else labels
    full = ngff_zarr.to_ngff_image(source, dims=["y", "x"], scale={"y": 1.0, "x": 1.0}, translation={"y": 0.0, "x": 0.0})
    levels = ngff_zarr.to_multiscales(full, scale_factors=[2, 4, 8], chunks=64, method=ngff_zarr.Methods[method]).images[1:]
    for level in levels:
        pixels, scale = np.asarray(level.data), level.scale["y"]
        assert level.translation["y"] == level.translation["x"] == (scale - 1) / 2
        side = int(64 // scale)
        cells = [pixels[i : i + side, j : j + side] for i in range(0, 16 * side, side) for j in range(0, 16 * side, side)]
        corners = [(i, j) for i in range(0, 16 * side, side) for j in range(0, 16 * side, side)]
        weights = cells if source is image else [cell > 0 for cell in cells]
        found = np.array([np.add(ndimage.center_of_mass(w), c) for w, c in zip(weights, corners)])
        yield scale, (found * scale + level.translation["y"] - centres).mean(0)

first_pixel = {"DASK_IMAGE_NEAREST", "DASK_IMAGE_GAUSSIAN"}
for method in ("DASK_IMAGE_NEAREST", "DASK_IMAGE_GAUSSIAN", "DASK_IMAGE_MODE", "DASK_BIN_SHRINK", "ITKWASM_LABEL_IMAGE", "ITKWASM_BIN_SHRINK"):
    for scale, (y, x) in shift(method):
        print(f"{method} factor {scale:g}: objects lie {y:.2f} and {x:.2f} pixels off")
        expected = (scale - 1) / 2 if method in first_pixel else 0
        assert abs(y - expected) < 0.2 and abs(x - expected) < 0.2
EOF
