"""Matches and rates, against examples worked by hand and a brute-force oracle."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from maskq.segmentation.arrays import Labels
from maskq.segmentation.evaluation.metrics import THRESHOLDS, ImageScore, Matches, match, overlaps, score, summarise

MapPair = tuple[Labels, Labels]


def maps(side: int = 12, objects: int = 4) -> st.SearchStrategy[MapPair]:
    """Pairs of label maps of one shape, possibly without pixels."""
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=side)

    def pair(shape: tuple[int, ...]) -> st.SearchStrategy[MapPair]:
        one = hnp.arrays(np.int32, shape, elements=st.integers(0, objects))
        return st.tuples(one, st.one_of(one, one.map(lambda labels: labels * 1)))

    return shapes.flatmap(pair)


def nearly_alike() -> st.SearchStrategy[MapPair]:
    """A map of blocks and a copy with some pixels changed, so that IoUs on all sides of the thresholds occur."""
    blocks = hnp.arrays(np.int32, (3, 3), elements=st.integers(0, 5)).map(
        lambda b: np.kron(b, np.ones((3, 3), np.int32))
    )
    changes = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 6)), max_size=25)

    def change(labels: Labels, edits: list[tuple[int, int, int]]) -> MapPair:
        other = labels.copy()
        for y, x, value in edits:
            other[y, x] = value
        return labels, other

    return st.builds(change, blocks, changes)


def dense_iou(truth: Labels, found: Labels) -> NDArray[np.float64]:
    """The IoU matrix, one pair of full-frame masks at a time."""
    rows, columns = ([labels == i for i in np.unique(labels) if i] for labels in (truth, found))
    matrix = [(a & b).sum() / (a | b).sum() for a in rows for b in columns]
    return np.array(matrix, float).reshape(len(rows), len(columns))


def best_by_trying(iou: NDArray[np.float64], threshold: float) -> tuple[int, float]:
    """The largest number of matches, then the largest sum of IoU, over all assignments."""
    if iou.shape[0] > iou.shape[1]:
        iou = iou.T
    choices = (iou[range(len(iou)), list(order)] for order in permutations(range(iou.shape[1]), len(iou)))
    kept = (values[values >= threshold] for values in choices)
    return max((len(values), float(values.sum())) for values in kept)


def line(*labels: int) -> Labels:
    return np.array([labels], np.int32)


@given(maps() | nearly_alike())
def test_the_sparse_iou_is_the_dense_one(pair: MapPair) -> None:
    dense, sparse = dense_iou(*pair), overlaps(*pair)
    rebuilt = np.zeros((sparse.truths, sparse.found))
    rebuilt[sparse.rows, sparse.columns] = sparse.iou
    assert (sparse.truths, sparse.found) == dense.shape
    assert (rebuilt == dense).all()


@given(maps(side=5) | nearly_alike(), st.sampled_from([0.1, 0.25, 0.4, *THRESHOLDS]))
def test_no_other_matching_is_better(pair: MapPair, threshold: float) -> None:
    matches = match(overlaps(*pair), threshold)
    tp, total = best_by_trying(dense_iou(*pair), threshold)
    assert matches.tp == tp
    assert matches.iou == pytest.approx(total)


@given(maps() | nearly_alike())
def test_swapping_truth_and_prediction_swaps_precision_and_recall(pair: MapPair) -> None:
    for one, other in zip(score(*pair).matches, score(pair[1], pair[0]).matches, strict=True):
        a, b = one.rates(), other.rates()
        assert (a.ap, a.precision, a.recall, a.f1) == (b.ap, b.recall, b.precision, b.f1)
        assert a.panoptic_quality == pytest.approx(b.panoptic_quality)


@given(maps())
def test_the_truth_itself_is_perfect(pair: MapPair) -> None:
    perfect = score(pair[0], pair[0])
    assert perfect.count_error == 0
    for matches in perfect.matches:
        assert vars(matches.rates()) == dict.fromkeys(vars(matches.rates()), 1.0) | {"threshold": matches.threshold}


@given(nearly_alike(), st.permutations(range(1, 7)), st.integers(1, 300_000_000))
def test_label_values_do_not_matter(pair: MapPair, order: list[int], factor: int) -> None:
    renamed = np.array([0, *order], np.int32)[pair[1]] * np.int32(factor)
    for one, other in zip(score(*pair).matches, score(pair[0], renamed).matches, strict=True):
        assert (one.tp, one.fp, one.fn) == (other.tp, other.fp, other.fn)
        assert one.iou == pytest.approx(other.iou)


@given(maps() | nearly_alike())
def test_rates_lie_between_0_and_1_and_fall_with_the_threshold(pair: MapPair) -> None:
    rates = [matches.rates() for matches in score(*pair).matches]
    assert all(0 <= value <= 1 for rate in rates for value in vars(rate).values())
    assert all(low.ap >= high.ap for low, high in pairwise(rates))


def test_the_thresholds_are_the_usual_ones() -> None:
    assert THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def test_counts_and_rates_worked_by_hand() -> None:
    truth = line(1, 1, 1, 1, 0, 2, 2, 0, 3)
    found = line(5, 5, 5, 0, 0, 9, 9, 7, 0)
    result = score(truth, found, (0.5, 0.8))
    assert result == ImageScore(3, 3, (Matches(0.5, 2, 1, 1, 1.75), Matches(0.8, 1, 2, 2, 1.0)))
    rates = result.matches[0].rates()
    assert (rates.ap, rates.precision, rates.recall, rates.f1) == (2 / 4, 2 / 3, 2 / 3, 2 / 3)
    assert rates.panoptic_quality == 1.75 / 3


def test_an_iou_of_exactly_the_threshold_matches_but_only_once() -> None:
    result = score(line(1, 1), line(1, 2), (0.5,))
    assert result.matches == (Matches(0.5, 1, 1, 0, 0.5),)


@pytest.mark.parametrize(
    ("truth", "found", "ap", "precision", "recall"),
    [(0, 0, 1.0, 1.0, 1.0), (1, 0, 0.0, 0.0, 0.0), (0, 1, 0.0, 0.0, 0.0)],
)
def test_no_objects_and_none_predicted_is_perfect(
    truth: int, found: int, ap: float, precision: float, recall: float
) -> None:
    rates = score(line(truth), line(found)).matches[0].rates()
    assert (rates.ap, rates.precision, rates.recall) == (ap, precision, recall)


def test_pooled_rates_weigh_objects_and_mean_rates_weigh_images() -> None:
    crowd = score(line(1, 2, 3, 4, 5, 6, 7, 8, 9), line(1, 2, 3, 0, 0, 0, 0, 0, 0))
    single = score(line(1), line(1))
    summary = summarise([crowd, single])
    assert (summary.images, summary.truths, summary.found) == (2, 10, 4)
    assert summary.pooled[0].ap == 4 / 10
    assert summary.mean[0].ap == pytest.approx((3 / 9 + 1) / 2)
    assert summary.count_error == 3
    assert [rate.threshold for rate in summary.mean] == list(THRESHOLDS)


def test_count_errors_of_opposite_sign_do_not_cancel() -> None:
    more, fewer = score(line(1, 1), line(1, 2)), score(line(1, 2), line(1, 1))
    assert (more.count_error, fewer.count_error) == (1, -1)
    assert summarise([more, fewer]).count_error == 1


def test_incomparable_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        score(line(1, 2), line(1))
    with pytest.raises(ValueError, match="not -3"):
        score(line(1, -3), line(1, 1))
    with pytest.raises(ValueError, match="threshold"):
        score(line(1), line(1), (0.0,))
    with pytest.raises(ValueError, match="no image"):
        summarise([])
    with pytest.raises(ValueError, match="different thresholds"):
        summarise([score(line(1), line(1), (0.5,)), score(line(1), line(1), (0.6,))])
