#!/usr/bin/env bash
# Guess: a stack of label planes (Z, H, W) written by scikit-image or imageio comes back as written,
# whatever Z is.
# Instead: two or five planes are stored as pages and come back as (Z, H, W). Three or four are stored as one
# planar RGB(A) picture without a warning; imageio's reference says so, scikit-image's doesn't. photometric=
# "minisblack" changes only the tag: still one page. imageio 2.38.1 reads it as (Z, H, W), scikit-image 0.26.0
# as (H, W, Z), and that even where three or four planes are stored as pages.
# Pillow 13.0.0 reads the uint16 file of three, but as 8 bits: it takes the bytes of each plane for pixels,
# so a row becomes two, ids are cut into low and high bytes, and the lower half is lost. No error.
# For label stacks: write with tifffile and photometric="minisblack", and read with tifffile.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 imageio==2.38.1 scikit-image==0.26.0 pillow==13.0.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import warnings
import imageio.v3 as iio, numpy as np, skimage.io, tifffile
from importlib.metadata import version
from PIL import Image

print({p: version(p) for p in ("imageio", "scikit-image", "tifffile", "pillow")})
rng = np.random.default_rng(0)
for z in (2, 3, 4, 5):
    stack = rng.integers(0, 1000, (z, 32, 40)).astype(np.uint16)
    for name, write in {"imageio": iio.imwrite, "skimage": lambda p, a: skimage.io.imsave(p, a, check_contrast=False)}.items():
        path = f"{name}{z}.tif"
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            write(path, stack)
        with tifffile.TiffFile(path) as t:
            pages, kind = len(t.pages), t.pages[0].photometric.name
        shapes = iio.imread(path).shape, skimage.io.imread(path).shape
        print(f"{name}, {z} planes: {pages} page(s), {kind}; imageio reads {shapes[0]}, scikit-image {shapes[1]}; warnings: {len(seen)}")
        rgb = z in (3, 4)
        assert (pages, kind) == ((1, "RGB") if rgb else (z, "MINISBLACK")) and not seen
        assert shapes == (stack.shape, (32, 40, z) if rgb else stack.shape)
        if z == 3:
            got = np.asarray(Image.open(path))
            as_bytes = np.moveaxis(stack.view(np.uint8).reshape(3, 64, 40)[:, :32], 0, -1)
            print(f"  Pillow: {got.dtype} {got.shape}, the planes' bytes as pixels: {np.array_equal(got, as_bytes)}; ids {stack[:, 0, 0]} at the origin are {got[0, 0]}")
            assert got.dtype == np.uint8 and np.array_equal(got, as_bytes)
    iio.imwrite("grey.tif", stack, photometric="minisblack")
    with tifffile.TiffFile("grey.tif") as t:
        assert len(t.pages) == (1 if rgb else z) and t.pages[0].photometric.name == "MINISBLACK"
    tifffile.imwrite("pages.tif", stack, photometric="minisblack")
    with tifffile.TiffFile("pages.tif") as t:
        assert len(t.pages) == z and np.array_equal(t.asarray(), stack)
    shape = skimage.io.imread("pages.tif").shape
    print(f"  stored as {z} pages: scikit-image reads {shape}")
    assert shape == ((32, 40, z) if rgb else stack.shape)
EOF
