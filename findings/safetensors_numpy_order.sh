#!/usr/bin/env bash
# Guess: safetensors saves a numpy array's elements as they are indexed, or refuses an array that isn't
# C-contiguous.
# Instead: safetensors.numpy 0.8.0 writes the memory behind the array and keeps the shape. A label image
# in Fortran order (what pycocotools.mask.decode and asfortranarray give), a transpose or a crop of columns
# comes back with the same shape and type and other contents, with no error: the pixels are permuted, and a
# crop holds pixels of the image around it. A crop of whole rows and a copy are right.
# For label images: np.ascontiguousarray around everything that is saved, masks from RLE above all.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 safetensors==0.8.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import numpy as np
from importlib.metadata import version
from safetensors.numpy import load, load_file, save, save_file

print("safetensors", version("safetensors"), "numpy", np.__version__)
image = np.arange(24, dtype=np.uint32).reshape(4, 6)
cases = {
    "C order": (image, True),
    "crop of rows": (image[1:3], True),
    "Fortran order": (np.asfortranarray(image), False),
    "transpose": (image.T, False),
    "crop of columns": (image[1:3, 1:4], False),
}
for name, (a, right) in cases.items():
    save_file({"labels": a}, "a.safetensors")
    for back in (load(save({"labels": a}))["labels"], load_file("a.safetensors")["labels"]):
        assert back.shape == a.shape and back.dtype == a.dtype
        assert np.array_equal(back, a) == right, name
    print(f"{name}: same: {right}; first row {a[0].tolist()} came back as {back[0].tolist()}")
    fixed = load(save({"labels": np.ascontiguousarray(a)}))["labels"]
    assert np.array_equal(fixed, a)
EOF
