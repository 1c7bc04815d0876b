#!/usr/bin/env bash
# Guess: a reader that knows nothing of volumetric TIFF (one page with ImageDepth) refuses it, or at least
# all of those readers agree on the plane they give.
# Instead: each returns one plane of the right height and width without a word. libvips 8.18.7, rasterio
# 1.4.4 and, for strips, OpenCV 5.0.0 and SimpleITK 2.5.7 return the first plane; Pillow 13.0.0 the last or,
# with tiles 16 deep, plane 16 of 0 to 31. Pillow and GDAL count one frame. tifffile 2026.3.3 reads all.
# In a label volume the first and the last plane are those that tend to be empty.
# For label volumes: write pages (volumetric=False), or read with tifffile and check the number of planes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 pyvips==3.2.0 pyvips-binary==8.18.7 opencv-python-headless==5.0.0.93 pillow==13.0.0 rasterio==1.4.4 SimpleITK==2.5.7
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import warnings
import cv2, numpy as np, pyvips, rasterio, SimpleITK as sitk, tifffile
from importlib.metadata import version
from PIL import Image

warnings.simplefilter("ignore")
print({p: version(p) for p in ("tifffile", "pyvips-binary", "opencv-python-headless", "pillow", "rasterio", "SimpleITK")})
volume = np.empty((32, 64, 64), np.uint8)
volume[:] = np.arange(100, 132)[:, None, None]  # a plane's value is 100 + z

def gdal(path):
    with rasterio.open(path) as f:
        assert f.count == 1 and not f.subdatasets
        return f.read(1)

def pillow(path):
    image = Image.open(path)
    assert image.n_frames == 1
    return np.asarray(image)

readers = {
    "vips": lambda path: pyvips.Image.new_from_file(path, n=-1).numpy(),  # all pages
    "gdal": gdal,
    "pillow": pillow,
    "opencv": lambda path: cv2.imread(path, cv2.IMREAD_UNCHANGED),
    "sitk": lambda path: sitk.GetArrayFromImage(sitk.ReadImage(path)),
}
expected = {
    "strips": {"vips": 0, "gdal": 0, "pillow": 31, "opencv": 0, "sitk": 0},
    "tiles": {"vips": 0, "gdal": 0, "pillow": 16},
}
for kind, planes in expected.items():
    path = f"{kind}.tif"
    tifffile.imwrite(path, volume, photometric="minisblack", volumetric=True, tile=(16, 32, 32) if kind == "tiles" else None)
    with tifffile.TiffFile(path) as t:
        assert len(t.pages) == 1 and t.pages[0].imagedepth == 32
    assert np.array_equal(tifffile.imread(path), volume)
    got = {}
    for name in planes:
        a = readers[name](path)
        assert a.shape == (64, 64) and a.dtype == np.uint8
        got[name] = sorted({int(v) - 100 for v in np.unique(a)})
    print(f"{kind}: the planes in the returned image are", got)
    assert got == {k: [v] for k, v in planes.items()}
EOF
