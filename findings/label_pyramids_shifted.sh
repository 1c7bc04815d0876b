#!/usr/bin/env bash
# Guess: the libraries that write OME-Zarr put the pixels of a smaller level where that level's translation says.
# Instead: ome-zarr-py 0.18.0 writes the translation (factor - 1) / 2 for images and labels alike. Its images keep to
# it; its labels are the last pixel of each block, so that at factors 2, 4 and 8 objects lie .5, 1.5 and about 3.3
# pixels up and left of the image that they were found in. ngff-zarr 0.50.0 writes the same translation for every
# method, and two of them, DASK_IMAGE_NEAREST and DASK_IMAGE_GAUSSIAN, take the first pixel: .5, 1.5 and 3.5 pixels
# down and right. Its DASK_IMAGE_MODE, ITKWASM_LABEL_IMAGE and BIN_SHRINK methods are right. Full size always is.
# For label images: ngff-zarr with DASK_IMAGE_MODE or ITKWASM_LABEL_IMAGE; or every second pixel, [::2, ::2], without a
# translation; or measure at full size only.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 zarr==3.1.6 ome-zarr==0.18.0 ngff-zarr==0.50.0 dask==2026.8.0 dask-image==2026.5.0 scikit-image==0.26.0 itkwasm-downsample==2.0.2
cd "$dir"
"$dir/venv/bin/python" - <<'EOF' 2>/dev/null
from importlib.metadata import version
import ngff_zarr, numpy as np, ome_zarr.writer, zarr
from ome_zarr.format import FormatV05
from scipy import ndimage

print({p: version(p) for p in ("ome-zarr", "ngff-zarr", "dask", "dask-image", "scikit-image", "itkwasm-downsample")})
random = np.random.default_rng(0)
labels = np.zeros((1024, 1024), np.uint16)
for number in range(256):  # rectangles at any place within a grid of 64 pixels
    (y, x), (h, w) = random.integers(0, 20, 2), random.integers(20, 41, 2)
    cell = labels[number // 16 * 64 :, number % 16 * 64 :]
    cell[y : y + h, x : x + w] = number + 1
image = (labels > 0).astype(np.float32)
centres = np.array(ndimage.center_of_mass(image, labels, range(1, 257)))

def shift(pixels, scale, translation, is_labels):
    """By how many pixels of the full image the objects of a level lie off, on average: down, right."""
    side = int(64 // scale)
    corners = [(i, j) for i in range(0, 16 * side, side) for j in range(0, 16 * side, side)]
    cells = [pixels[i : i + side, j : j + side] for i, j in corners]
    found = np.array([np.add(ndimage.center_of_mass(cell > 0 if is_labels else cell), corner) for cell, corner in zip(cells, corners)])
    return (found * scale + translation - centres).mean(0)

def by_ngff_zarr(method):
    source = image if "GAUSSIAN" in method or "SHRINK" in method else labels
    full = ngff_zarr.to_ngff_image(source, dims=["y", "x"], scale={"y": 1.0, "x": 1.0}, translation={"y": 0.0, "x": 0.0})
    levels = ngff_zarr.to_multiscales(full, scale_factors=[2, 4, 8], chunks=64, method=ngff_zarr.Methods[method]).images[1:]
    for level in levels:
        assert level.translation["y"] == level.translation["x"] == (level.scale["y"] - 1) / 2
        yield level.scale["y"], shift(np.asarray(level.data), level.scale["y"], level.translation["y"], source is labels)

def by_ome_zarr(is_labels):
    group = zarr.open_group("labels.zarr" if is_labels else "image.zarr", mode="w", zarr_format=3)
    if is_labels:
        ome_zarr.writer.write_image(image, group, axes="yx", fmt=FormatV05())
        ome_zarr.writer.write_labels(labels, group, name="objects", axes="yx", fmt=FormatV05())
        group = group["labels/objects"]
    else:
        ome_zarr.writer.write_image(image, group, axes="yx", fmt=FormatV05())
    for level in group.attrs["ome"]["multiscales"][0]["datasets"][1:4]:
        scale, translation = (step[step["type"]][0] for step in level["coordinateTransformations"])
        assert translation == (scale - 1) / 2
        yield scale, shift(group[level["path"]][:], scale, translation, is_labels)

#: The shift in units of (factor - 1) / 2.
cases = {"ome-zarr-py, image": (lambda: by_ome_zarr(False), 0), "ome-zarr-py, labels": (lambda: by_ome_zarr(True), -1)}
for method in ("DASK_IMAGE_NEAREST", "DASK_IMAGE_GAUSSIAN"):
    cases[f"ngff-zarr, {method}"] = (lambda method=method: by_ngff_zarr(method), 1)
for method in ("DASK_IMAGE_MODE", "ITKWASM_LABEL_IMAGE", "DASK_BIN_SHRINK", "ITKWASM_BIN_SHRINK"):
    cases[f"ngff-zarr, {method}"] = (lambda method=method: by_ngff_zarr(method), 0)
for name, (levels, unit) in cases.items():
    for scale, found in levels():
        print(f"{name}, factor {scale:g}: objects lie {found[0]:+.2f} and {found[1]:+.2f} pixels off")
        assert (abs(found - unit * (scale - 1) / 2) < 0.3).all()
EOF
