"""The clustering kernel, compared with the plain torch transcription of the paper on the same unpacked fields.

The input of both is a CPU worker's after unpacking: the fields of the foreground pixels. Ours also writes the label
map. The fields are discs that cover about a third of the image, with embeddings scattered around the centre as a
trained network's are. In the noisy fields, a twentieth of all pixels are better seeds than those of any disc, but
belong to no object. `copies` is our time divided by that of one `numpy.copy` of these fields, measured in turn.

The last cases compare our kernel with itself: time per megapixel of larger images with that at 2 megapixels, and noisy
fields with clean ones.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskq.segmentation.clustering.cluster import Clustering, cluster, warm_up
from maskq.segmentation.clustering.fields import Foreground, select
from tests.published import cluster_foreground

from .harness import Case, alternate

Fields = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

_UNIT = 64.0
_SIZES = {
    "2mp-20": (1024, 2048, 20),
    "2mp-50": (1024, 2048, 50),
    "2mp-100": (1024, 2048, 100),
    "512sq-200": (512, 512, 200),
    "4mp-1500": (2048, 2048, 1500),
}
_TWO = _SIZES["2mp-100"]
_NOISY = (512, 512, 50)
#: Larger images consist of bands of this size, one below the other.
_BAND = (2048, 4096, 400)
_GROWTH = {"8mp-400": 1, "16mp-800": 2, "64mp-3200": 8}


def run(quick: bool, images: Path | None) -> list[Case]:
    """Compare every size, and noise, with the transcription; then the growth with the image's size and with noise."""
    warm_up()
    rounds = 2 if quick else 7
    cases = [_compare(name, discs(*size), 1 if size[2] > 1000 else rounds) for name, size in _SIZES.items()]
    cases.append(_compare("2mp-100, one bandwidth", discs(*_TWO, bandwidths=1), rounds))
    cases.append(_compare("512sq-50, noisy", noisy(*discs(*_NOISY)), 1))
    growth = [_growth(name, bands, 3 if quick else 9) for name, bands in _GROWTH.items()]
    return [*cases, *growth, _noise(5 if quick else 15)]


def _compare(name: str, dense: Fields, rounds: int) -> Case:
    foreground = select(*dense)
    fields = foreground.embedding, foreground.precision, foreground.seediness
    ours, theirs = partial(cluster, foreground, Clustering()), partial(cluster_foreground, *fields)
    labels, scores = ours()
    same = bool((labels.ravel()[foreground.index] == theirs()[0]).all())
    kernel, published = alternate(ours, theirs, rounds)
    arrays = (*fields, foreground.index)
    ours_s, copy_s = alternate(ours, lambda: [array.copy() for array in arrays], max(5, 3 * rounds))
    return Case.seconds(name, kernel, published, identical=same, objects=len(scores), copies=round(ours_s / copy_s, 2))


def _growth(name: str, bands: int, rounds: int) -> Case:
    """`ours` is the time per megapixel of the larger image, `yardstick` that of 2 megapixels with 100 objects."""
    image = _stacked(select(*discs(*_BAND)), bands)
    large, small = (partial(cluster, foreground, Clustering()) for foreground in (image, select(*discs(*_TWO))))
    objects = len(large()[1])
    large_s, small_s = alternate(large, small, rounds)
    megapixels = np.prod(image.shape) / 1e6, _TWO[0] * _TWO[1] / 1e6
    return Case.seconds(
        f"{name} over 2mp-100, a megapixel", large_s / megapixels[0], small_s / megapixels[1], objects=objects
    )


def _noise(rounds: int) -> Case:
    """`ours` is the time with noise, `yardstick` without, both at 2 megapixels with 100 objects."""
    dense = discs(*_TWO)
    clean = partial(cluster, select(*dense), Clustering())
    objects = len(clean()[1])
    noised = partial(cluster, select(*noisy(*dense)), Clustering())
    noised_objects = len(noised()[1])
    noised_s, clean_s = alternate(noised, clean, rounds)
    return Case.seconds("2mp-100, noisy over clean", noised_s, clean_s, objects=f"{noised_objects} of {objects}")


def discs(height: int, width: int, objects: int, scatter: float = 0.15, bandwidths: int = 2) -> Fields:
    """Return dense fields of `objects` discs on a jittered lattice, with embeddings scattered by `scatter` radii.

    Seediness is what the seed loss teaches: φ of the pixel's embedding, a little less at the rim.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    embedding = (np.stack([x, y]) / _UNIT).astype(np.float32)
    precision = np.ones((bandwidths, height, width), np.float32)
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


def noisy(embedding: NDArray[np.float32], precision: NDArray[np.float32], seediness: NDArray[np.float32]) -> Fields:
    """Turn a twentieth of all pixels into seeds with a bandwidth of a fifth of a pixel, half of them displaced."""
    rng = np.random.default_rng(1)
    embedding, precision, seediness = embedding.copy(), precision.copy(), seediness.copy()
    hit = rng.random(seediness.shape) < 0.05
    displaced = hit & (rng.random(seediness.shape) < 0.5)
    precision[:, hit] = np.log(2) / (0.2 / _UNIT) ** 2
    seediness[hit] = rng.uniform(0.99, 1, int(hit.sum()))
    embedding[:, displaced] += rng.uniform(-1, 1, (2, int(displaced.sum())))
    return embedding, precision, seediness


def _stacked(band: Foreground, times: int) -> Foreground:
    """Repeat the band `times` times, one below the other, as foreground only: no dense fields are needed."""
    height, width = band.shape
    step = np.repeat(np.arange(times), len(band.index))
    embedding = np.tile(band.embedding, times)
    embedding[1] += (step * (height / _UNIT)).astype(np.float32)
    return Foreground(
        (times * height, width),
        np.tile(band.index, times) + step * (height * width),
        embedding,
        np.tile(band.precision, times),
        np.tile(band.seediness, times),
    )
