"""Metrics of a segmentation: objects are matched one to one by IoU, and rates are computed from the matches.

AP here is TP / (TP + FP + FN), as in the 2018 Data Science Bowl, StarDist and EmbedSeg; it is not COCO's area under a
precision-recall curve. If the truth and the prediction have no objects, every rate is 1.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

#: IoU thresholds .5, .55, ... .95.
THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))

AnyLabels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Overlaps:
    """The sparse IoU matrix of two label maps: only the pairs of objects that share a pixel."""

    #: Number of true and of predicted objects: the matrix's rows and columns.
    truths: int
    found: int
    #: (P,) row and column of each pair, in the order of ascending labels.
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    #: (P,) intersection over union of each pair, in (0, 1].
    iou: NDArray[np.float64]


@dataclass(frozen=True)
class Rates:
    """Rates between 0 and 1 at one IoU threshold."""

    threshold: float
    #: TP / (TP + FP + FN).
    ap: float
    precision: float
    recall: float
    f1: float
    #: Sum of the matches' IoU / (TP + FP/2 + FN/2) (Kirillov et al., CVPR 2019); usually reported at .5.
    panoptic_quality: float


@dataclass(frozen=True)
class Matches:
    """One-to-one matches with an IoU of `threshold` or more."""

    threshold: float
    #: Matched objects, predicted objects without a match, and true objects without a match.
    tp: int
    fp: int
    fn: int
    #: Sum of the matches' IoU.
    iou: float

    def rates(self) -> Rates:
        """The rates of these counts."""
        tp, fp, fn = self.tp, self.fp, self.fn
        half = (fp + fn) / 2
        return Rates(
            threshold=self.threshold,
            ap=_rate(tp, tp + fp + fn),
            precision=_rate(tp, tp + fp, empty=float(fn == 0)),
            recall=_rate(tp, tp + fn, empty=float(fp == 0)),
            f1=_rate(tp, tp + half),
            panoptic_quality=_rate(self.iou, tp + half),
        )


@dataclass(frozen=True)
class ImageScore:
    """One image's scores."""

    #: Number of true and of predicted objects.
    truths: int
    found: int
    #: One per threshold, in the order given to `score`.
    matches: tuple[Matches, ...]

    @property
    def count_error(self) -> int:
        """Predicted minus true objects: negative if too few were predicted."""
        return self.found - self.truths


@dataclass(frozen=True)
class Summary:
    """The scores of many images, averaged in the two ways that papers use."""

    #: Number of images, of true and of predicted objects.
    images: int
    truths: int
    found: int
    #: Mean over images of the absolute count error, objects.
    count_error: float
    #: Rates over the objects of all images, per threshold: crowded images weigh more.
    pooled: tuple[Rates, ...]
    #: Mean over images of each image's rates, per threshold.
    mean: tuple[Rates, ...]


def overlaps(truth: AnyLabels, predicted: AnyLabels) -> Overlaps:
    """The IoU of every pair of objects that share a pixel.

    Both maps are (H, W), 0 for background; labels need not be consecutive. Raises `ValueError` for different shapes
    and for negative labels. Takes linear time, except for sorting the runs of equal pixels.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"label maps of one shape are needed, not {truth.shape} and {predicted.shape}")
    starts = _run_starts(truth.ravel(), predicted.ravel())
    lengths = np.diff(starts, append=truth.size)
    (true_ids, rows), (predicted_ids, columns) = _unique(truth.ravel()[starts]), _unique(predicted.ravel()[starts])
    true_areas, predicted_areas = np.bincount(rows, lengths), np.bincount(columns, lengths)
    pairs, indices = np.unique(rows * len(predicted_ids) + columns, return_inverse=True)
    shared = np.bincount(indices, lengths)
    rows, columns = np.divmod(pairs, max(len(predicted_ids), 1))
    both = (true_ids[rows] != 0) & (predicted_ids[columns] != 0)
    rows, columns, shared = rows[both], columns[both], shared[both]
    iou = shared / (true_areas[rows] + predicted_areas[columns] - shared)
    # The background, if there is any, is the first id; it is not an object.
    true_skip, predicted_skip = int((true_ids[:1] == 0).sum()), int((predicted_ids[:1] == 0).sum())
    truths, found = len(true_ids) - true_skip, len(predicted_ids) - predicted_skip
    return Overlaps(truths, found, rows - true_skip, columns - predicted_skip, iou)


def assign(pairs: Overlaps, threshold: float) -> NDArray[np.intp]:
    """The indices (K,) of the pairs that match one to one with IoU ≥ `threshold`.

    The number of matches is the largest possible; among equal numbers, the sum of IoU is. Raises `ValueError` for a
    threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"an IoU threshold lies in (0, 1], not at {threshold}")
    close = np.flatnonzero(pairs.iou >= threshold)
    return close[_assign(pairs.rows[close], pairs.columns[close], pairs.iou[close])]


def match(pairs: Overlaps, threshold: float) -> Matches:
    """Count the matches of `assign`. Raises `ValueError` for a threshold outside (0, 1]."""
    matched = pairs.iou[assign(pairs, threshold)]
    tp = len(matched)
    return Matches(threshold, tp, pairs.found - tp, pairs.truths - tp, float(matched.sum()))


def score(truth: AnyLabels, predicted: AnyLabels, thresholds: Sequence[float] = THRESHOLDS) -> ImageScore:
    """Compare one image's (H, W) label maps. Raises the `ValueError`s of `overlaps` and `match`."""
    pairs = overlaps(truth, predicted)
    return ImageScore(pairs.truths, pairs.found, tuple(match(pairs, threshold) for threshold in thresholds))


def summarise(scores: Sequence[ImageScore]) -> Summary:
    """Combine the scores of many images. Raises `ValueError` if there are none or their thresholds differ."""
    if not scores:
        raise ValueError("no image to summarise")
    levels = list(zip(*(image.matches for image in scores), strict=True))
    if any(matches.threshold != level[0].threshold for level in levels for matches in level):
        raise ValueError("the images were scored at different thresholds")
    return Summary(
        images=len(scores),
        truths=sum(image.truths for image in scores),
        found=sum(image.found for image in scores),
        count_error=sum(abs(image.count_error) for image in scores) / len(scores),
        pooled=tuple(_pool(level).rates() for level in levels),
        mean=tuple(_mean([matches.rates() for matches in level]) for level in levels),
    )


def _run_starts(first: AnyLabels, second: AnyLabels) -> NDArray[np.intp]:
    """The first pixel of each run that is constant in both flat maps: there are far fewer runs to sort than pixels."""
    is_start = np.ones(first.size, np.bool_)
    is_start[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return np.flatnonzero(is_start)


def _unique(labels: AnyLabels) -> tuple[AnyLabels, NDArray[np.intp]]:
    """The distinct labels, ascending, and each label's index among them. Raises `ValueError` for negative labels."""
    if labels.size and labels.min() < 0:
        raise ValueError(f"labels are 0 or more, not {labels.min()}")
    return np.unique(labels, return_inverse=True)


def _assign(rows: NDArray[np.intp], columns: NDArray[np.intp], iou: NDArray[np.float64]) -> NDArray[np.intp]:
    """The indices of the best one-to-one assignment of the pairs.

    With IoU above ½ no object is in two pairs, so nearly all pairs are unambiguous and the dense assignment stays tiny.
    """
    unambiguous = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    rivals = np.flatnonzero(~unambiguous)
    row_ids, r = np.unique(rows[rivals], return_inverse=True)
    column_ids, c = np.unique(columns[rivals], return_inverse=True)
    gain, indices = np.zeros((len(row_ids), len(column_ids))), np.full((len(row_ids), len(column_ids)), -1, np.intp)
    gain[r, c] = iou[rivals] + len(row_ids)  # one more match outweighs any sum of IoU
    indices[r, c] = rivals
    chosen = indices[linear_sum_assignment(gain, maximize=True)]
    return np.concatenate([np.flatnonzero(unambiguous), chosen[chosen >= 0]])


def _rate(part: float, whole: float, empty: float = 1.0) -> float:
    return part / whole if whole else empty


def _pool(level: Sequence[Matches]) -> Matches:
    """The sum of all images' counts at one threshold."""
    return Matches(
        level[0].threshold,
        sum(matches.tp for matches in level),
        sum(matches.fp for matches in level),
        sum(matches.fn for matches in level),
        sum(matches.iou for matches in level),
    )


def _mean(rates: Sequence[Rates]) -> Rates:
    """The mean over images of each rate at one threshold."""
    columns = islice(zip(*map(astuple, rates), strict=True), 1, None)  # all except the threshold
    return Rates(rates[0].threshold, *(sum(column) / len(rates) for column in columns))
