#!/usr/bin/env bash
# Guess: COCO polygons kept in a Parquet column are the same polygons after reading, so frPyObjects
# rasterizes them as before; at worst it refuses what it cannot take.
# Instead: pandas 3.1.1 with pyarrow 26.0.1 gives the nested lists back as numpy arrays, and an array
# changes the meaning: pycocotools 2.0.11 (a 1 x 8 array) and faster-coco-eval 1.8.0 (the column as read,
# too) take the first four numbers of each polygon for a box x, y, width, height. An 8 x 8 square becomes
# a box of 9 pixels, with no error. For a list of tuples faster-coco-eval returns no mask at all.
# hotcoco 1.3.0 reads all of these as polygons.
# For label images: make plain lists of floats of what comes from Parquet (or keep RLE strings), and
# compare areas with those of the labels after each conversion.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1 pycocotools==2.0.11 faster-coco-eval==1.8.0 hotcoco==1.3.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import numpy as np, pandas as pd
from importlib.metadata import version
import pycocotools.mask as pyc
import faster_coco_eval.core.mask as fast
import hotcoco.mask as hot

square = [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0, 1.0, 9.0]]
pd.DataFrame({"segmentation": [square]}).to_parquet("a.parquet")
read = pd.read_parquet("a.parquet").segmentation[0]
print("pandas", version("pandas"), "gives", type(read).__name__, "of", type(read[0]).__name__)
assert isinstance(read, np.ndarray) and isinstance(read[0], np.ndarray)

def areas(m, polygons):
    try:
        return [int(m.area(r)) for r in m.frPyObjects(polygons, 20, 20)]
    except (ValueError, TypeError) as e:
        return type(e).__name__

forms = {"lists": square, "as read": read, "1 x 8 array": np.stack(list(read)), "list of tuples": [tuple(square[0])]}
got = {}
for name, m in (("pycocotools", pyc), ("faster-coco-eval", fast), ("hotcoco", hot)):
    got[name] = [areas(m, f) for f in forms.values()]
    print(name, version(name), dict(zip(forms, got[name])))
    assert areas(m, [p.tolist() for p in read]) == [64]
assert got["pycocotools"] == [[64], "ValueError", [9], [64]]
assert got["faster-coco-eval"] == [[64], [9], [9], []]
assert got["hotcoco"] == [[64]] * 4
EOF
