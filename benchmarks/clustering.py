"""The clustering kernel beside the plain torch transcription of the paper, on the same unpacked fields in the same run.

Both are given what a CPU worker has after unpacking, the fields of the foreground pixels; ours also makes the label
map. The fields are discs that cover about a third of the image, their embeddings scattered around the centre as a
trained network's are. `copies` is our time over one pass of `numpy.copy` over those fields.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering import Clustering, cluster, warm_up
from segmentation.fields import select
from tests.published import cluster_foreground

from .harness import Case, alternate, timed

Fields = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

_UNIT = 64.0
_SIZES = {
    "2mp-20": (1024, 2048, 20),
    "2mp-50": (1024, 2048, 50),
    "2mp-100": (1024, 2048, 100),
    "512sq-200": (512, 512, 200),
    "4mp-1500": (2048, 2048, 1500),
}
_GROWTH = ((1024, 2048, 100), (2048, 4096, 400))


def run(quick: bool, images: Path | None) -> list[Case]:
    """Every size against the transcription; then how the time grows from 2 to 8 megapixels."""
    warm_up()
    cases = [_compare(name, *size, rounds=2 if quick else 7) for name, size in _SIZES.items()]
    return [*cases, _growth(rounds=5 if quick else 15)]


def _compare(name: str, height: int, width: int, objects: int, rounds: int) -> Case:
    foreground = select(*discs(height, width, objects))
    fields = foreground.embedding, foreground.precision, foreground.seediness
    ours, theirs = partial(cluster, foreground, Clustering()), partial(cluster_foreground, *fields)
    same = bool((ours()[0].ravel()[foreground.index] == theirs()[0]).all())
    kernel, published = alternate(ours, theirs, 1 if objects > 1000 else rounds)
    copy = median(timed(lambda: [field.copy() for field in (*fields, foreground.index)]) for _ in range(3 * rounds))
    return Case.seconds(name, kernel, published, identical=same, copies=round(kernel / copy, 2))


def _growth(rounds: int) -> Case:
    """Four times the pixels and objects: `ours` the time at 2 MP with 100, `yardstick` at 8 MP with 400."""
    small, large = (partial(cluster, select(*discs(*size)), Clustering()) for size in _GROWTH)
    for warm in (small, large):
        warm()
    less, more = alternate(small, large, rounds)
    return Case.seconds("8mp-400 over 2mp-100", less, more, most_allowed=4.8)


def discs(height: int, width: int, objects: int, scatter: float = 0.15) -> Fields:
    """Dense fields of `objects` discs on a jittered lattice, their embeddings scattered by `scatter` radii.

    Seediness is what the seed loss teaches: φ of the pixel's own embedding, a little less at the rim.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    embedding = (np.stack([x, y]) / _UNIT).astype(np.float32)
    precision = np.ones((2, height, width), np.float32)
    seediness = rng.uniform(0, 0.3, (height, width)).astype(np.float32)
    radius = 0.34 * np.sqrt(height * width / objects)
    rows = round(np.sqrt(objects * height / width))
    columns = -(-objects // rows)
    for n in range(objects):
        row, column = divmod(n, columns)
        jitter = rng.normal(0, radius / 20, 2)
        cy, cx = (row + 0.5) * height / rows + jitter[0], (column + 0.5) * width / columns + jitter[1]
        top, left = max(int(cy - radius), 0), max(int(cx - radius), 0)
        box = np.s_[top : int(cy + radius) + 2, left : int(cx + radius) + 2]
        inside = (y[box] - cy) ** 2 + (x[box] - cx) ** 2 < radius**2
        count = int(inside.sum())
        off = rng.normal(0, scatter * radius / _UNIT, (2, count))
        embedding[(slice(None), *box)][:, inside] = np.array([[cx], [cy]]) / _UNIT + off
        precision[(slice(None), *box)][:, inside] = np.log(2) / (0.6 * radius / _UNIT) ** 2
        phi = np.exp(-(off**2).sum(0) * np.log(2) / (0.6 * radius / _UNIT) ** 2)
        seediness[box][inside] = 0.99 * phi
    return embedding, precision, seediness
