#!/usr/bin/env bash
# Guess: tifffile and tiffslide give the colours of an Aperio slide as OpenSlide does, or say that they don't.
# Instead: compression 33003 means JPEG 2000 of YCbCr, also where the photometric tag says RGB, as here.
# OpenSlide 4.0.1 converts; tifffile 2026.3.3 and tiffslide 3.0.1, made to stand in for OpenSlide, return Y,
# Cb and Cr as red, green and blue without a warning: light grey (240, 240, 240) is (240, 128, 128), and a pink
# stain (200, 30, 120) is (91, 144, 205). In the other direction, RGB that tifffile writes with 33003 looks
# right in tifffile and wrong in OpenSlide. 33005 (RGB) is the same in all three.
# For segmentation: a model sees other colours with one of two loaders of the same slide. Look at
# page.compression and convert (Pillow: YCbCr to RGB), or read with OpenSlide.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 imagecodecs==2026.3.6 tiffslide==3.0.1 openslide-python==1.4.7 openslide-bin==4.0.1.2 pillow==13.0.0 zarr==3.1.6
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import warnings
import numpy as np, openslide, tifffile, tiffslide
from importlib.metadata import version
from PIL import Image

print("OpenSlide", openslide.__library_version__, {p: version(p) for p in ("tifffile", "tiffslide", "openslide-python", "imagecodecs")})
rgb = np.full((512, 512, 3), 240, np.uint8)
rgb[100:300, 100:300] = 200, 30, 120
ycc = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
about = "Aperio Image Library v12\r\n512x512 [0,0 512x512] (256x256) J2K|AppMag = 20|MPP = 0.5"

def region(slide):
    return np.asarray(slide.read_region((0, 0), 0, (512, 512)).convert("RGB"))

readers = {
    "openslide": lambda path: region(openslide.OpenSlide(path)),
    "tiffslide": lambda path: region(tiffslide.TiffSlide(path)),
    "tifffile": tifffile.imread,
}

def close(a, b):
    return bool(np.abs(a.astype(int) - b).max() <= 2)

for name, code, stored, expected in (
    ("33003, YCbCr inside", 33003, ycc, [True, False, False]),
    ("33003, RGB inside", 33003, rgb, [False, True, True]),
    ("33005, RGB inside", 33005, rgb, [True, True, True]),
):
    path = f"{code}{'ycc' if stored is ycc else 'rgb'}.svs"
    tifffile.imwrite(path, stored, photometric="rgb", compression=code, compressionargs={"level": 0, "codecformat": "j2k"}, tile=(256, 256), description=about, metadata=None)
    assert openslide.OpenSlide(path).properties["openslide.vendor"] == "aperio"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        got = {k: read(path) for k, read in readers.items()}
    assert not [w for w in seen if not issubclass(w.category, ResourceWarning)]
    print(name, {k: (a[0, 0].tolist(), a[200, 200].tolist()) for k, a in got.items()})
    assert [close(a, rgb) for a in got.values()] == expected
    if stored is ycc:
        assert close(got["tifffile"], ycc) and close(got["tiffslide"], ycc)
EOF
