"""How good a segmentation is: objects matched one to one by IoU, and the rates that follow.

AP here is TP / (TP + FP + FN), as the 2018 Data Science Bowl, StarDist and EmbedSeg count it; it is not COCO's area
under a precision-recall curve. Where there is nothing to find and nothing was found, every rate is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

#: IoU thresholds .5, .55, ... .95.
THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))

AnyLabels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Overlaps:
    """The IoU matrix of two label maps, only the pairs that share a pixel."""

    #: Objects in the truth: the matrix's rows.
    truths: int
    #: Objects found: the matrix's columns.
    found: int
    #: (P,) row and column of each pair, by ascending label.
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    #: (P,) intersection over union of each pair, in (0, 1].
    iou: NDArray[np.float64]


@dataclass(frozen=True)
class Rates:
    """Rates between 0 and 1 at an IoU threshold."""

    threshold: float
    #: TP / (TP + FP + FN).
    ap: float
    precision: float
    recall: float
    f1: float
    #: Sum of the matches' IoU / (TP + FP/2 + FN/2) (Kirillov et al., CVPR 2019); customary at .5.
    panoptic_quality: float


@dataclass(frozen=True)
class Matches:
    """One-to-one matches with an IoU of `threshold` or more."""

    threshold: float
    #: True positives: matched objects.
    tp: int
    #: False positives: objects found that match nothing.
    fp: int
    #: False negatives: true objects that nothing matches.
    fn: int
    #: Sum of the matches' IoU.
    iou: float

    def rates(self) -> Rates:
        """The rates that these counts give."""
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
    """One image's result."""

    truths: int
    found: int
    #: One for each threshold, as given to `score`.
    matches: tuple[Matches, ...]

    @property
    def count_error(self) -> int:
        """Objects found beyond those there are; negative where some are missed."""
        return self.found - self.truths


@dataclass(frozen=True)
class Summary:
    """Many images' result, in the two ways that papers average."""

    images: int
    truths: int
    found: int
    #: Mean over images of the absolute count error, objects.
    count_error: float
    #: Rates of all objects thrown together, for each threshold: crowded images weigh more.
    pooled: tuple[Rates, ...]
    #: Mean over images of each image's rates, for each threshold.
    mean: tuple[Rates, ...]


def overlaps(truth: AnyLabels, found: AnyLabels) -> Overlaps:
    """The IoU of every pair of objects that share a pixel.

    Both maps are (H, W), 0 for background; labels need not be consecutive. Raises `ValueError` on different shapes
    and on negative labels. Linear but for sorting the runs of equal pixels.
    """
    if truth.shape != found.shape:
        raise ValueError(f"label maps of one shape are needed, not {truth.shape} and {found.shape}")
    begins = _runs(truth.ravel(), found.ravel())
    lengths = np.diff(begins, append=truth.size)
    (true_ids, rows), (found_ids, columns) = _compact(truth.ravel()[begins]), _compact(found.ravel()[begins])
    true_areas, found_areas = np.bincount(rows, lengths), np.bincount(columns, lengths)
    pairs, places = np.unique(rows * len(found_ids) + columns, return_inverse=True)
    shared = np.bincount(places, lengths)
    rows, columns = np.divmod(pairs, max(len(found_ids), 1))
    both = (true_ids[rows] != 0) & (found_ids[columns] != 0)
    rows, columns, shared = rows[both], columns[both], shared[both]
    iou = shared / (true_areas[rows] + found_areas[columns] - shared)
    # Background, where there is any, is the first of the ids and no object.
    skip, jump = int((true_ids[:1] == 0).sum()), int((found_ids[:1] == 0).sum())
    return Overlaps(len(true_ids) - skip, len(found_ids) - jump, rows - skip, columns - jump, iou)


def assign(pairs: Overlaps, threshold: float) -> NDArray[np.intp]:
    """The places (K,) of the pairs that match, one to one and with IoU ≥ `threshold`.

    They are as many as there can be, and of such choices the one with the greatest sum of IoU. Raises `ValueError` for
    a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"an IoU threshold lies in (0, 1], not at {threshold}")
    close = np.flatnonzero(pairs.iou >= threshold)
    return close[_assign(pairs.rows[close], pairs.columns[close], pairs.iou[close])]


def match(pairs: Overlaps, threshold: float) -> Matches:
    """The pairs that `assign` chooses, counted. Raises `ValueError` as it does."""
    matched = pairs.iou[assign(pairs, threshold)]
    tp = len(matched)
    return Matches(threshold, tp, pairs.found - tp, pairs.truths - tp, float(matched.sum()))


def score(truth: AnyLabels, found: AnyLabels, thresholds: Sequence[float] = THRESHOLDS) -> ImageScore:
    """Compare one image's (H, W) label maps. Raises `ValueError` as `overlaps` and `match` do."""
    pairs = overlaps(truth, found)
    return ImageScore(pairs.truths, pairs.found, tuple(match(pairs, threshold) for threshold in thresholds))


def summarise(scores: Sequence[ImageScore]) -> Summary:
    """Many images' scores in one. Raises `ValueError` where there are none or their thresholds differ."""
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


def _runs(first: AnyLabels, second: AnyLabels) -> NDArray[np.intp]:
    """Where, in two flat maps, a run of pixels begins that are equal in both: far fewer to sort than the pixels."""
    begins = np.ones(first.size, np.bool_)
    begins[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return np.flatnonzero(begins)


def _compact(labels: AnyLabels) -> tuple[AnyLabels, NDArray[np.intp]]:
    """The labels that occur, ascending, and the index among them of each that was given."""
    if labels.size and labels.min() < 0:
        raise ValueError(f"labels are 0 or more, not {labels.min()}")
    return np.unique(labels, return_inverse=True)


def _assign(rows: NDArray[np.intp], columns: NDArray[np.intp], iou: NDArray[np.float64]) -> NDArray[np.intp]:
    """The places of the best one-to-one choice among the pairs.

    Above ½ no object is in two pairs, so nearly all are settled at once and the dense assignment stays tiny.
    """
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    rivals = np.flatnonzero(~alone)
    row_ids, r = np.unique(rows[rivals], return_inverse=True)
    column_ids, c = np.unique(columns[rivals], return_inverse=True)
    gain, places = np.zeros((len(row_ids), len(column_ids))), np.full((len(row_ids), len(column_ids)), -1, np.intp)
    gain[r, c] = iou[rivals] + len(row_ids)  # the number of matches comes before their quality
    places[r, c] = rivals
    chosen = places[linear_sum_assignment(gain, maximize=True)]
    return np.concatenate([np.flatnonzero(alone), chosen[chosen >= 0]])


def _rate(part: float, whole: float, empty: float = 1.0) -> float:
    return part / whole if whole else empty


def _pool(level: Sequence[Matches]) -> Matches:
    """The counts of all images at one threshold, added up."""
    return Matches(
        level[0].threshold,
        sum(matches.tp for matches in level),
        sum(matches.fp for matches in level),
        sum(matches.fn for matches in level),
        sum(matches.iou for matches in level),
    )


def _mean(rates: Sequence[Rates]) -> Rates:
    """The mean of each rate over images, at one threshold."""
    count = len(rates)
    return Rates(
        rates[0].threshold,
        sum(rate.ap for rate in rates) / count,
        sum(rate.precision for rate in rates) / count,
        sum(rate.recall for rate in rates) / count,
        sum(rate.f1 for rate in rates) / count,
        sum(rate.panoptic_quality for rate in rates) / count,
    )
