"""Packed fields: the effects of rounding, and invalid bytes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskq.segmentation.arrays import Floats
from maskq.segmentation.clustering import fields
from maskq.segmentation.clustering.cluster import Clustering, cluster
from maskq.segmentation.clustering.fields import Foreground, Packer, activate, compact, pack, unpack
from maskq.segmentation.errors import InvalidFields

raw_fields = st.tuples(st.sampled_from([4, 5]), st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-30, 30, width=32))
)


def whole(raw: Floats, unit: float) -> Foreground:
    """The foreground without rounding."""
    index = np.flatnonzero(raw[-1] > 0)
    _, height, width = raw.shape
    return activate(raw.reshape(len(raw), -1)[:, index], index, (height, width), unit)


@given(raw_fields, st.sampled_from([16.0, 64.0, 1024.0]))
@settings(max_examples=200, deadline=None)
def test_rounding_keeps_the_foreground_and_changes_values_by_half_a_last_place(raw: Floats, unit: float) -> None:
    packed, exact = unpack(pack(raw, unit)), whole(raw, unit)
    assert packed.shape == exact.shape == raw.shape[1:]
    np.testing.assert_array_equal(packed.index, exact.index)
    offsets = raw.reshape(len(raw), -1)[:2, exact.index]
    bound = np.abs(offsets) * 2.0**-11 + 2.0**-24
    assert (np.abs(packed.embedding - exact.embedding) <= bound + 1e-4 / unit).all()
    # A sigma of s changes by s·2⁻¹¹, and the precision exp(10 s) by ten times that, relatively.
    sigma = raw.reshape(len(raw), -1)[2:-1, exact.index]
    allowed = 10 * (np.abs(sigma) * 2.0**-11 + 2.0**-24) + 1e-5
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = np.abs(np.log(packed.precision.astype(float)) - np.log(exact.precision.astype(float)))
    finite = np.isfinite(exact.precision) & (exact.precision > 1e-30) & (packed.precision < 1e37)
    assert (moved[finite] <= allowed[finite]).all()
    assert np.abs(packed.seediness - exact.seediness).max(initial=0) <= 2.0**-12 + 1e-6


def test_objects_with_clear_margins_have_identical_labels_after_rounding() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :64].astype(np.float32)
    raw = np.full((5, 64, 64), -3.0, np.float32)
    for n, (cx, cy) in enumerate([(12, 12), (40, 15), (20, 45), (50, 50)]):
        inside = (x - cx) ** 2 + (y - cy) ** 2 < 81
        raw[0][inside] = np.arctanh((cx - x[inside]) / 64 + rng.normal(0, 0.01, inside.sum()))
        raw[1][inside] = np.arctanh((cy - y[inside]) / 64 + rng.normal(0, 0.01, inside.sum()))
        raw[2:4, inside] = np.log(np.log(2) / (8 / 64) ** 2) / 10
        raw[4][inside] = 4 + n
    rounded, exact = cluster(unpack(pack(raw, 64)), Clustering()), cluster(whole(raw, 64), Clustering())
    assert rounded[0].max() == 4
    np.testing.assert_array_equal(rounded[0], exact[0])


def test_the_size_of_packed_fields_depends_on_the_foreground() -> None:
    raw = np.full((5, 100, 100), -1, np.float32)
    raw[4, :10] = 1
    assert len(pack(raw, 64)) == 20 + 10_000 // 8 + 1000 * 5 * 2


@given(raw_fields, st.data())
def test_the_packed_fields_do_not_depend_on_the_parts_or_their_order(raw: Floats, data: st.DataObject) -> None:
    _, height, width = raw.shape
    rows = sorted({0, height, *data.draw(st.lists(st.integers(0, height), max_size=3))})
    columns = sorted({0, width, *data.draw(st.lists(st.integers(0, width), max_size=3))})
    parts = [(*y, *x) for y in pairwise(rows) for x in pairwise(columns)]
    packer = Packer((height, width), 64)
    for top, bottom, left, right in data.draw(st.permutations(parts)):
        part = raw[:, top:bottom, left:right]
        packer.add(compact(part) if data.draw(st.booleans()) else part, top, left)
    assert packer.finish() == pack(raw, 64)


@given(raw_fields, st.data())
def test_background_is_no_foreground_in_any_part(raw: Floats, data: st.DataObject) -> None:
    _, height, width = raw.shape
    background = data.draw(arrays(np.bool_, (height, width)))
    column = data.draw(st.integers(0, width))
    packer = Packer((height, width), 64, background)
    for left, right in ((column, width), (0, column)):
        part = raw[:, :, left:right]
        packer.add(compact(part) if data.draw(st.booleans()) else part, 0, left)
    without = raw.copy()
    without[-1, background] = -1
    assert packer.finish() == pack(without, 64)


def test_activation_in_chunks_equals_activation_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = np.random.default_rng(0).normal(0, 2, (5, 40, 50)).astype(np.float32)
    at_once = unpack(pack(raw, 64))
    monkeypatch.setattr(fields, "_CHUNK", 100)
    in_chunks = unpack(pack(raw, 64))
    for name in ("index", "embedding", "precision", "seediness"):
        np.testing.assert_allclose(getattr(in_chunks, name), getattr(at_once, name), rtol=1e-6)


def test_nan_is_an_error() -> None:
    raw = np.ones((4, 4, 4), np.float32)
    raw[0, 1, 1] = np.nan
    with pytest.raises(InvalidFields, match="NaN"):
        pack(raw, 64)


@given(st.binary(max_size=200))
def test_bytes_that_are_not_packed_fields_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidFields):
        unpack(data)


@given(raw_fields, st.data())
def test_cut_or_lengthened_fields_are_refused(raw: Floats, data: st.DataObject) -> None:
    packed = pack(raw, 64)
    cut = data.draw(st.integers(0, len(packed) - 1))
    for damaged in (packed[:cut], packed + b"\0"):
        with pytest.raises(InvalidFields):
            unpack(damaged)
