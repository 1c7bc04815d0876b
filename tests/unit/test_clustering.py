"""The kernels give exactly the labels of the published algorithm, on fields of every kind."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskq.segmentation.arrays import Floats
from maskq.segmentation.clustering import cluster as clustering
from maskq.segmentation.clustering import kernels
from maskq.segmentation.clustering.cluster import Clustering, cluster
from maskq.segmentation.clustering.fields import select
from maskq.segmentation.clustering.kernels import MARGIN
from tests.published import cluster_published

#: Embedding (2, H, W), precision (bandwidths, H, W) and seediness (H, W).
Fields = tuple[Floats, Floats, Floats]
UNIT = 32.0
#: Comparisons per run before the pixels are sorted: negative is at once, 1000 is never.
COMPARISONS = st.sampled_from([-1, 0, 1, 1000])


def blobs(
    rng: np.random.Generator,
    shape: tuple[int, int],
    count: int,
    *,
    bandwidths: int,
    noise: float,
    levels: int | None,
    touching: bool,
) -> Fields:
    """Fields of `count` ellipses: offsets off by `noise` radii, seediness in `levels` steps (many ties) if given."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    embedding: NDArray[Any] = np.stack([x, y]) / np.float32(UNIT)
    precision = np.exp(rng.normal(2, 2, (bandwidths, height, width))).astype(np.float32)
    seediness: NDArray[Any] = rng.uniform(0, 0.7, shape).astype(np.float32)
    step = 7.0 if touching else 12.0
    for n in range(count):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        if touching:
            cx, cy = 4 + step * n, 5 + 3 * cy / height
        rx, ry = rng.uniform(2, 6, 2)
        inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
        scatter = rng.normal(0, noise, (2, int(inside.sum()))) * np.array([[rx], [ry]]) / UNIT
        embedding[:, inside] = np.array([[cx], [cy]]) / UNIT + scatter
        radii = np.array([rx, ry])[:bandwidths] / UNIT
        precision[:, inside] = (np.log(2) / radii**2)[:, None]
        seediness[inside] = rng.uniform(0.8, 1, int(inside.sum()))
    if levels:
        seediness = np.round(seediness * levels) / levels
    return embedding.astype(np.float32), precision, seediness.astype(np.float32)


def assert_same(
    fields: Fields,
    parameters: Clustering,
    comparisons: int = clustering._COMPARISONS_PER_RUN,
) -> int:
    """Assert that our labels and scores equal the oracle's; returns the number of objects."""
    with patch.object(clustering, "_COMPARISONS_PER_RUN", comparisons):
        labels, scores = cluster(select(*fields), parameters)
    expected, expected_scores = cluster_published(
        *fields,
        seed_threshold=parameters.seed_threshold,
        min_pixels=parameters.min_pixels,
        min_unclustered=parameters.min_unclustered,
    )
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(scores, np.array(expected_scores, np.float32))
    return len(scores)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 48),
    width=st.integers(1, 64),
    count=st.integers(0, 12),
    bandwidths=st.sampled_from([1, 2]),
    noise=st.sampled_from([0.0, 0.05, 0.3, 1.5]),
    levels=st.sampled_from([None, 3, 8, 64]),
    touching=st.booleans(),
    threshold=st.sampled_from([0.5, 0.8, 0.9, 0.99, 1.0]),
    min_pixels=st.sampled_from([0, 4, 36]),
    min_unclustered=st.sampled_from([0, 5, 128]),
    comparisons=COMPARISONS,
)
def test_labels_are_those_of_the_published_algorithm(
    seed: int,
    height: int,
    width: int,
    count: int,
    bandwidths: int,
    noise: float,
    levels: int | None,
    touching: bool,
    threshold: float,
    min_pixels: int,
    min_unclustered: int,
    comparisons: int,
) -> None:
    rng = np.random.default_rng(seed)
    fields = blobs(rng, (height, width), count, bandwidths=bandwidths, noise=noise, levels=levels, touching=touching)
    assert_same(fields, Clustering(threshold, min_pixels, min_unclustered), comparisons)


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.51, 0.89, 0.9, 0.95, 1.0]), min_size=1, max_size=200),
    positions=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=8),
    sharpness=st.lists(st.sampled_from([0.0, 1e-45, 1e-30, 0.1, 0.7, 3.0, 1e30, 3e38, np.inf]), min_size=1, max_size=5),
    bandwidths=st.sampled_from([1, 2]),
    threshold=st.sampled_from([-1.0, 0.0, 0.9, 2.0]),
    min_unclustered=st.integers(0, 40),
    comparisons=COMPARISONS,
)
@example(
    values=[1.0], positions=[(0, 0)], sharpness=[1.0], bandwidths=1, threshold=0.9, min_unclustered=0, comparisons=0
)
def test_few_distinct_values_with_ties_everywhere(
    values: list[float],
    positions: list[tuple[int, int]],
    sharpness: list[float],
    bandwidths: int,
    threshold: float,
    min_unclustered: int,
    comparisons: int,
) -> None:
    n = len(values)
    embedding = np.array([positions[i % len(positions)] for i in range(n)], np.float32).T.reshape(2, 1, n)
    precision = np.resize(np.array(sharpness, np.float32), (bandwidths, 1, n))
    fields = embedding, precision, np.array(values, np.float32).reshape(1, n)
    assert_same(fields, Clustering(threshold, 0, min_unclustered), comparisons)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-15, 1e-6, 1.0, 1e4, 1e15]),
    far=st.sampled_from([0.0, 1e3, 1e6]),
    flat=st.sampled_from([1.0, 1e-3, 0.0]),
    comparisons=COMPARISONS,
)
def test_embeddings_of_any_scale_with_a_few_far_away_or_on_a_line(
    seed: int, scale: float, far: float, flat: float, comparisons: int
) -> None:
    rng = np.random.default_rng(seed)
    embedding = rng.normal(0, 1, (2, 20, 50))
    embedding[1] *= flat
    embedding[:, rng.random((20, 50)) < 0.005] += far
    precision = np.exp(rng.normal(3, 1, (1, 20, 50))) / scale**2
    seediness = rng.uniform(0.3, 1, (20, 50)).astype(np.float32)
    fields = (embedding * scale).astype(np.float32), precision.astype(np.float32), seediness
    assert_same(fields, Clustering(0.6, 3, 0), comparisons)


@pytest.mark.parametrize("comparisons", [-1, clustering._COMPARISONS_PER_RUN, 1000])
@pytest.mark.parametrize("bandwidths", [1, 2])
def test_pure_noise(bandwidths: int, comparisons: int) -> None:
    rng = np.random.default_rng(5)
    fields = (
        rng.normal(0, 1, (2, 60, 60)).astype(np.float32),
        np.exp(rng.normal(1, 2, (bandwidths, 60, 60))).astype(np.float32),
        rng.uniform(0, 1, (60, 60)).astype(np.float32),
    )
    assert assert_same(fields, Clustering(0.6, 3, 0), comparisons) > 5


@pytest.mark.parametrize("noisy", [False, True])
def test_pixels_are_sorted_only_if_fields_are_noise(noisy: bool) -> None:
    rng = np.random.default_rng(3)
    embedding, precision, seediness = blobs(rng, (60, 200), 12, bandwidths=2, noise=0.05, levels=None, touching=False)
    if noisy:  # many seeds of high seediness, whose ellipses hold a pixel or two
        hit = rng.random(seediness.shape) < 0.2
        precision[:, hit] = 1e6
        seediness[hit] = rng.uniform(0.9, 1, int(hit.sum()))
    with patch.object(kernels, "sort_pixels", wraps=kernels.sort_pixels) as sort:
        assert_same((embedding, precision, seediness), Clustering())
    assert sort.called is noisy


def test_an_empty_foreground_has_no_objects() -> None:
    zero = np.zeros((5, 7), np.float32)
    labels, scores = cluster(select(np.zeros((2, 5, 7), np.float32), zero[None], zero), Clustering())
    assert labels.shape == (5, 7) and not labels.any() and len(scores) == 0


# 49, 64, 81 and 256 pixels: less than a run, one run, more than one, four
@pytest.mark.parametrize("side", [7, 8, 9, 16])
def test_one_object_that_fills_the_image(side: int) -> None:
    ones = np.ones((side, side), np.float32)
    labels, scores = cluster(select(np.zeros((2, side, side), np.float32), ones[None], ones), Clustering())
    assert (labels == 1).all()
    assert scores.dtype == np.float32 and scores.tolist() == [1.0]


def test_more_objects_than_16_bits_can_number() -> None:
    side = 264  # 264² = 69,696 objects of 2 × 2 pixels
    block = np.kron(np.arange(side * side).reshape(side, side), np.ones((2, 2), int))
    y, x = np.divmod(block, side)
    seediness = np.full(block.shape, 0.95, np.float32)
    seediness[::2, ::2] = 0.99
    fields = np.stack([x, y]).astype(np.float32), np.full((1, *block.shape), 4, np.float32), seediness
    labels, scores = cluster(select(*fields), Clustering(0.9, 3, 0))
    assert len(scores) == side * side > 65_535
    np.testing.assert_array_equal(labels, block + 1)


def test_phi_falls_to_a_half_at_the_margin_in_numpy_and_torch() -> None:
    around = (MARGIN.view(np.int32) + np.arange(-8, 9, dtype=np.int32)).view(np.float32)
    for phi in (np.exp(-around), torch.exp(-torch.from_numpy(np.tile(around, 64))).numpy()[:17]):
        np.testing.assert_array_equal(phi > 0.5, around <= MARGIN)
