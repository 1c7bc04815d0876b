#!/usr/bin/env bash
# Guess: options given to tifffile as compressionargs can be kept in a dictionary and used for every page.
# Instead: tifffile 2026.3.3 writes keys of its own into the caller's dictionary: for an RGB picture in JPEG
# its colour spaces and subsampling, so that the next grey page or mask fails with 'invalid data shape', which
# blames the array. The same pages in the other order work. JPEG 2000 and PackBits add keys, too, and a
# dictionary used for PackBits can't be used for Deflate afterwards.
# For writers of images with masks: pass dict(options) each time.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 tifffile==2026.3.3 imagecodecs==2026.3.6
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import numpy as np, tifffile
from importlib.metadata import version

print({p: version(p) for p in ("tifffile", "imagecodecs")})
y, x = np.mgrid[:64, :80]
rgb = np.dstack([y, x, y + x]).astype(np.uint8)
grey = rgb[..., 0].copy()

def write(a, photometric, compression, options):
    try:
        tifffile.imwrite("a.tif", a, photometric=photometric, compression=compression, compressionargs=options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "written"

def run(*steps):
    options, results = {}, []
    for step in steps:
        results.append(write(*step, options))
    print([s[1:] for s in steps], results, options)
    return results, options

colour, mask = (rgb, "rgb", "jpeg"), (grey, "minisblack", "jpeg")
results, options = run(mask, colour)
assert results == ["written"] * 2
results, options = run(colour, mask)
assert results == ["written", "ValueError: invalid data shape"]
assert set(options) == {"subsampling", "colorspace", "outcolorspace"}
results, options = run((grey, "minisblack", "jpeg2000"))
assert options == {"codecformat": 0}
results, options = run((grey, "minisblack", "packbits"), (grey, "minisblack", "deflate"))
assert options == {"axis": -2} and results[0] == "written" and results[1] != "written"
EOF
