"""The loss equals the papers' definition, and its approximations change it negligibly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from maskq.segmentation.training.loss import WINDOW, Terms, batch_loss, boxes, grid, lovasz_hinge

UNIT = 64.0


def jaccard_loss(wrong: frozenset[int], truth: frozenset[int]) -> float:
    """Δ of a set of mispredicted pixels: 1 - intersection / union of truth and prediction."""
    predicted = truth ^ wrong
    union = truth | predicted
    return 1 - len(truth & predicted) / len(union) if union else 0.0


def lovasz_by_definition(errors: list[float], truth: list[bool]) -> float:
    """Berman et al. 2018, definition 1: errors in descending order, each times the increase of Δ by its pixel."""
    inside = frozenset(i for i, t in enumerate(truth) if t)
    total, wrong = 0.0, frozenset[int]()
    for pixel in sorted(range(len(errors)), key=lambda i: -errors[i]):
        total += errors[pixel] * (jaccard_loss(wrong | {pixel}, inside) - jaccard_loss(wrong, inside))
        wrong |= {pixel}
    return total


def one_lovasz(logits: Tensor, truth: Tensor) -> Tensor:
    """The Lovász hinge of the pixels of a single owner."""
    return lovasz_hinge(logits, truth, torch.zeros(len(logits), dtype=torch.int64), 1)[0]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.floats(-3, 3), st.booleans()), min_size=1, max_size=12))
def test_lovasz_hinge_is_the_extension_by_its_definition(pixels: list[tuple[float, bool]]) -> None:
    logits, truth = [p for p, _ in pixels], [t for _, t in pixels]
    hinges = [max(0.0, 1 - logit * (1 if t else -1)) for logit, t in pixels]
    found = one_lovasz(torch.tensor(logits, dtype=torch.float64), torch.tensor(truth, dtype=torch.float64))
    assert found.item() == pytest.approx(lovasz_by_definition(hinges, truth), abs=1e-9)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_lovasz_of_binary_errors_is_the_jaccard_loss(pixels: list[tuple[bool, bool]]) -> None:
    # Errors are exactly 0 or 1: a logit is on the right side by a margin of 1, or 0.
    truth = frozenset(i for i, (t, _) in enumerate(pixels) if t)
    wrong = frozenset(i for i, (_, w) in enumerate(pixels) if w)
    logits = torch.tensor([0.0 if w else (1.0 if t else -1.0) for t, w in pixels])
    found = one_lovasz(logits, torch.tensor([float(t) for t, _ in pixels]))
    assert found.item() == pytest.approx(jaccard_loss(wrong, truth), abs=1e-6)


@given(st.lists(st.tuples(st.floats(-3, 3), st.booleans(), st.integers(0, 3)), max_size=30))
def test_owners_do_not_influence_each_other(pixels: list[tuple[float, bool, int]]) -> None:
    logits = torch.tensor([p for p, _, _ in pixels], dtype=torch.float64)
    truth = torch.tensor([t for _, t, _ in pixels], dtype=torch.float64)
    owner = torch.tensor([o for _, _, o in pixels], dtype=torch.int64)
    combined = lovasz_hinge(logits, truth, owner, 4)
    for number, found in enumerate(combined):
        assert found.item() == pytest.approx(one_lovasz(logits[owner == number], truth[owner == number]).item())


def test_lovasz_of_no_pixels_is_0() -> None:
    assert one_lovasz(torch.zeros(0), torch.zeros(0)).item() == 0


def blobs(seed: int, count: int, shape: tuple[int, int] = (96, 128)) -> NDArray[np.int32]:
    """(H, W) labels of disks that may overlap."""
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for label in range(1, count + 1):
        row, column, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(2, 9)
        labels[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = label
    return labels


def sigma_of(margin: float) -> float:
    """The network output σ for which φ = ½ at `margin` pixels from the centre."""
    return math.log(math.log(2) / (margin / UNIT) ** 2) / 10


def raw_fields(seed: int, shape: tuple[int, int], bandwidths: int, margin: float, reach: float) -> Tensor:
    """Noisy fields with margins of about `margin` pixels and offsets of up to `reach` pixels."""
    rng = torch.Generator().manual_seed(seed)
    offsets = torch.atanh((torch.rand(2, *shape, generator=rng) * 2 - 1) * reach / UNIT)
    sigma = sigma_of(margin) + 0.01 * torch.randn(bandwidths, *shape, generator=rng)
    return torch.cat([offsets, sigma, torch.randn(1, *shape, generator=rng)])


def perfect_fields(labels: NDArray[np.int32], bandwidths: int = 2) -> Tensor:
    """Fields whose object pixels point exactly at their centre, with small margins and saturated seediness."""
    height, width = labels.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    raw = np.zeros((3 + bandwidths, height, width))
    raw[2:-1] = sigma_of(0.2)
    for label in np.unique(labels[labels > 0]):
        inside = labels == label
        for axis, position in enumerate((x, y)):
            raw[axis, inside] = np.arctanh((position[inside].mean() - position[inside]) / UNIT)
    raw[-1] = np.where(labels > 0, 20, -20)
    return torch.tensor(raw, dtype=torch.float32)


def terms(raw: Tensor, labels: NDArray[np.int32], window: int | None = None) -> Terms:
    return loss_of(raw[None], torch.from_numpy(labels)[None], window)


def loss_of(raw: Tensor, labels: Tensor, window: int | None = WINDOW) -> Terms:
    return batch_loss(raw, labels, torch.from_numpy(boxes(labels.numpy())), UNIT, window)


def test_the_grid_has_x_then_y_in_units_from_the_first_pixel() -> None:
    coordinates = grid(3, 5, 2.0)
    assert coordinates.shape == (2, 3, 5)
    assert coordinates[:, 2, 4].tolist() == [2.0, 1.0] and coordinates[:, 0, 0].tolist() == [0, 0]


@pytest.mark.parametrize("bandwidths", [1, 2])
def test_perfect_fields_have_almost_no_loss(bandwidths: int) -> None:
    labels = np.zeros((80, 80), np.int32)
    labels[5:16, 8:19], labels[40:55, 30:37], labels[5:16, 50:61] = 1, 2, 3  # centres on pixels or between them
    found = terms(perfect_fields(labels, bandwidths), labels)
    assert found.instance.item() < 1e-3 and found.variance.item() < 1e-9 and found.seed.item() < 1e-3


def test_shifted_offsets_have_a_higher_loss_than_perfect_ones() -> None:
    labels = blobs(1, 8)
    perfect = perfect_fields(labels)
    shifted = perfect.clone()
    shifted[0] += 0.2
    assert terms(shifted, labels).instance.item() > 0.9 > terms(perfect, labels).instance.item()


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**31),
    st.integers(0, 12),
    st.sampled_from([1, 2]),
    st.floats(0.5, 12),
    st.floats(0, 3),
)
def test_the_window_changes_the_loss_negligibly(
    seed: int, count: int, bandwidths: int, margin: float, reach: float
) -> None:
    labels = blobs(seed, count, (128, 192))
    raw = raw_fields(seed, labels.shape, bandwidths, margin, reach)
    for windowed, whole in zip(image_terms_default(raw, labels), terms(raw, labels), strict=True):
        assert windowed.item() == pytest.approx(whole.item(), abs=2e-3)


def image_terms_default(raw: Tensor, labels: NDArray[np.int32]) -> Terms:
    """The terms with the default window, as in training."""
    return terms(raw, labels, WINDOW)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 8), st.sampled_from([1, 2]))
def test_the_terms_equal_the_papers_sums_over_pixels(seed: int, count: int, bandwidths: int) -> None:
    labels = blobs(seed, count, (24, 32))
    raw = raw_fields(seed, labels.shape, bandwidths, margin=6, reach=4)
    offsets, sigma, seediness = np.tanh(raw[:2].numpy()), raw[2:-1].numpy(), torch.sigmoid(raw[-1]).numpy()
    coordinates = np.stack(np.meshgrid(np.arange(32), np.arange(24))) / UNIT
    instance, variance, seed_sum = [], [], float((seediness[labels == 0] ** 2).sum())
    for label in np.unique(labels[labels > 0]):
        inside = labels == label
        centre = coordinates[:, inside].mean(1)[:, None, None]
        mean = sigma[:, inside].mean(1)[:, None, None]
        phi = np.exp(-((offsets + coordinates - centre) ** 2 * np.exp(10 * mean)).sum(0))
        hinge = np.maximum(0, 1 - (2 * phi - 1) * np.where(inside, 1, -1))
        instance.append(lovasz_by_definition(hinge.ravel().tolist(), inside.ravel().tolist()))
        variance.append(((sigma[:, inside] - mean[:, 0]) ** 2).mean())
        seed_sum += 10 * ((seediness - phi)[inside] ** 2).sum()
    found = terms(raw, labels)
    assert found.instance.item() == pytest.approx(np.mean(instance), abs=1e-3)
    assert found.variance.item() == pytest.approx(np.mean(variance), abs=1e-6)
    assert found.seed.item() == pytest.approx(seed_sum / labels.size, abs=1e-4)
    assert found.total().item() == pytest.approx((found.instance + 10 * found.variance + found.seed).item())


@pytest.mark.parametrize("sigma", [-30.0, 0.0, 9.0, 50.0], ids=["wide", "as-begun", "narrow", "absurd"])
def test_gradients_are_finite_for_extreme_fields(sigma: float) -> None:
    labels = blobs(2, 10)
    raw = raw_fields(2, labels.shape, 2, margin=6, reach=40)
    raw[2:4] = sigma
    raw[:2, 40:50] = 0
    raw[-1, :20] = 1e4
    raw.requires_grad_()
    found = image_terms_default(raw, labels)
    found.total().backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None and torch.isfinite(raw.grad).all() and all(torch.isfinite(t) for t in found)


def test_gradients_of_perfect_fields_are_finite() -> None:
    labels = blobs(3, 6)
    raw = perfect_fields(labels).requires_grad_()
    terms(raw, labels).total().backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None and torch.isfinite(raw.grad).all()


def test_a_gradient_step_lowers_the_loss() -> None:
    labels = blobs(4, 6)
    raw = raw_fields(4, labels.shape, 2, margin=6, reach=4).requires_grad_()
    before = image_terms_default(raw, labels).total()
    before.backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None
    after = image_terms_default(raw.detach() - 0.1 * raw.grad, labels).total()
    assert after.item() < before.item()


def test_the_seed_term_has_a_gradient_for_seediness_only() -> None:
    labels = blobs(5, 6)
    raw = raw_fields(5, labels.shape, 2, margin=6, reach=4).requires_grad_()
    image_terms_default(raw, labels).seed.backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None and raw.grad[-1].any() and not raw.grad[:-1].any()


def test_an_empty_image_has_only_a_seed_loss() -> None:
    labels = np.zeros((16, 24), np.int32)
    raw = raw_fields(6, labels.shape, 2, margin=6, reach=4).requires_grad_()
    found = image_terms_default(raw, labels)
    found.total().backward()  # type: ignore[no-untyped-call]
    assert found.instance.item() == found.variance.item() == 0
    assert found.seed.item() == pytest.approx(torch.sigmoid(raw[-1]).square().mean().item())
    assert raw.grad is not None and torch.isfinite(raw.grad).all() and raw.grad[-1].all()


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_labels_may_have_gaps_and_touch_the_border(kind: torch.dtype) -> None:
    labels = blobs(7, 10)
    raw = raw_fields(7, labels.shape, 2, margin=6, reach=4)
    spread = torch.from_numpy(labels).to(kind) * 7
    plain, gaps = image_terms_default(raw, labels), loss_of(raw[None], spread[None])
    assert [t.item() for t in plain] == [t.item() for t in gaps]


def test_the_loss_of_a_batch_is_the_mean_of_its_images() -> None:
    labels = [blobs(seed, 5, (32, 40)) for seed in (1, 2, 3)]
    raw = [raw_fields(seed, (32, 40), 2, margin=6, reach=4) for seed in (1, 2, 3)]
    batch = loss_of(torch.stack(raw), torch.from_numpy(np.stack(labels)))
    each = [image_terms_default(r, t) for r, t in zip(raw, labels, strict=True)]
    for number, term in enumerate(batch):
        assert term.item() == pytest.approx(np.mean([one[number].item() for one in each]), rel=1e-5)
