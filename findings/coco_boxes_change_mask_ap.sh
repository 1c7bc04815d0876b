#!/usr/bin/env bash
# Guess: in COCO evaluation of masks (iouType segm) a detection counts as small, medium or large by its
# mask, so the optional bbox beside each segmentation changes nothing.
# Instead: in pycocotools 2.0.11, faster-coco-eval 1.8.0 and hotcoco 1.3.0 alike, loading results sets a
# detection's area to width x height of the *box* when there is one, and to the mask's pixels otherwise.
# Thin diagonal false positives of 80 pixels have boxes above 32 x 32: with a box they leave the class
# 'small' and no longer count there. AP small of the same masks rises from 0.5 to 0.7; AP overall stays.
# For label images: give either boxes in no result or in all, in every method that is compared, and don't
# compare AP by size of two tools unless both do the same. Filaments and rods suffer most.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 pycocotools==2.0.11 faster-coco-eval==1.8.0 hotcoco==1.3.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import contextlib, copy, io
import numpy as np
from importlib.metadata import version
import pycocotools.mask as pm
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from faster_coco_eval import COCO as FastCOCO, COCOeval_faster
import hotcoco

y, x = np.mgrid[:128, :128]
rle = lambda m: (lambda r: {"size": r["size"], "counts": r["counts"].decode()})(pm.encode(np.asfortranarray(m.astype(np.uint8))))
anns, res = [], []
for i, (cx, cy) in enumerate([(a, b) for a in (16, 48, 80, 112) for b in (20, 60, 100)], 1):
    true, found = ((x - cx - s) ** 2 + (y - cy) ** 2 <= 64 for s in (0, 1))
    anns.append({"id": i, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": int(true.sum()),
                 "bbox": pm.toBbox(rle(true)).tolist(), "segmentation": rle(true)})
    res.append({"image_id": 1, "category_id": 1, "score": .8 - .01 * i, "segmentation": rle(found)})
for k in range(4):  # false positives: lines of 40 x 2 pixels, 41 x 40 boxes
    line = np.zeros((128, 128), bool)
    for j in range(40):
        line[j + 20 * k, j + 60:j + 62] = True
    res.append({"image_id": 1, "category_id": 1, "score": .9, "segmentation": rle(line)})
gt = {"info": {}, "images": [{"id": 1, "height": 128, "width": 128}], "categories": [{"id": 1, "name": "cell"}], "annotations": anns}
boxed = [dict(r, bbox=pm.toBbox(r["segmentation"]).tolist()) for r in res]

def ap(lib, results):
    g, r = copy.deepcopy(gt), copy.deepcopy(results)
    with contextlib.redirect_stdout(io.StringIO()):
        if lib == "pycocotools":
            c = COCO(); c.dataset = g; c.createIndex(); e = COCOeval(c, c.loadRes(r), "segm")
        elif lib == "hotcoco":
            c = hotcoco.COCO(g); e = hotcoco.COCOeval(c, c.load_res(r), "segm")
        else:
            c = FastCOCO(g); e = COCOeval_faster(c, c.loadRes(r), "segm")
        e.evaluate(); e.accumulate(); e.summarize()
    return round(float(e.stats[0]), 3), round(float(e.stats[3]), 3)

for lib in ("pycocotools", "faster-coco-eval", "hotcoco"):
    plain, box = ap(lib, res), ap(lib, boxed)
    print(f"{lib} {version(lib)}: AP, AP small without boxes {plain}, with boxes {box}")
    assert plain[0] == box[0] == plain[1] and box[1] > plain[1] + .1
EOF
