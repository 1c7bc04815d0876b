#!/usr/bin/env bash
# Guess: a reader that opens a TIFF file of an unusual sample type gives its values or raises.
# Instead: SimpleITK 2.5.7 ignores that a 16-bit sample is a float: a probability map in float16 comes as
# uint16 bit patterns (1.0 is 15360, 0.5 is 14336). Pillow 13.0.0 reads int8 as uint8 (-1, 'ignore', is 255)
# and uint32 as int32 (3,000,000,000 is -1,294,967,296), and Image.fromarray(uint32) does the same. None warns.
# int16 and int32 come through in both; tifffile, rasterio 1.4.4 and libvips 8.18.7 keep all the values.
# For probability maps and labels: float32, and int32 with -1 or uint16 without; compare the type after reading.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 SimpleITK==2.5.7 pillow==13.0.0 rasterio==1.4.4 pyvips==3.2.0 pyvips-binary==8.18.7
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import warnings
import numpy as np, pyvips, rasterio, SimpleITK as sitk, tifffile
from importlib.metadata import version
from PIL import Image, UnidentifiedImageError

warnings.simplefilter("ignore")
print({p: version(p) for p in ("tifffile", "SimpleITK", "pillow", "rasterio", "pyvips-binary")})

def gdal(path):
    with rasterio.open(path) as f:
        return f.read(1)

readers = {
    "sitk": lambda path: sitk.GetArrayFromImage(sitk.ReadImage(path)),
    "pillow": lambda path: np.asarray(Image.open(path)),
    "gdal": gdal,
    "vips": lambda path: pyvips.Image.new_from_file(path).numpy(),
}
cases = {
    "float16": [0.0, 0.25, 0.5, 1.0],
    "int8": [-1, 0, 1, 100],
    "int16": [-1, 0, 1, 30000],
    "int32": [-1, 0, 1, 70001],
    "uint32": [0, 1, 70001, 3_000_000_000],
}
wrong = {}
for dtype, values in cases.items():
    a = np.repeat(np.repeat(np.array(values, dtype).reshape(2, 2), 16, 0), 16, 1)
    path = f"{dtype}.tif"
    tifffile.imwrite(path, a, photometric="minisblack")
    for name, read in readers.items():
        try:
            got = read(path)
        except UnidentifiedImageError:
            print(f"{dtype}: {name} raises")
            continue
        assert got.shape == a.shape
        if not (got == a).all():
            wrong[dtype, name] = got.dtype.name
            bits = np.array_equal(got, a.view(got.dtype))
            print(f"{dtype}: {name} reads {values} as {got.dtype} {got[::16, ::16].ravel().tolist()}, the same bits: {bits}")
            assert bits
assert wrong == {("float16", "sitk"): "uint16", ("int8", "pillow"): "uint8", ("uint32", "pillow"): "int32"}
got = np.asarray(Image.fromarray(a))
assert a.dtype == np.uint32 and got.dtype == np.int32 and got.min() == 3_000_000_000 - 2**32
EOF
