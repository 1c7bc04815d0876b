"""The batching rules, on a clock that the test controls."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskq.workers.device.batching import Batcher, BatchKey, BatchLimits

SMALL, WIDE, LARGE = (8, 8), (8, 16), (32, 32)


def key(shape: tuple[int, int], model: str = "m") -> BatchKey[str]:
    return BatchKey(model, model, shape)


@dataclass
class Simulation:
    """A device that takes a second for each batch and 0.01 s for each input, and a record of its batches."""

    limits: BatchLimits
    batcher: Batcher[str, int] = field(init=False)
    #: Per batch: (time, key, items, items that kept waiting).
    batches: list[tuple[float, BatchKey[str], list[int], set[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batcher = Batcher(self.limits)

    def run(self, arrivals: list[tuple[float, BatchKey[str]]]) -> None:
        """Number the items in the order of arrival; whenever the device is free it takes the batch that is due."""
        coming = list(enumerate(arrivals))[::-1]
        waiting: set[int] = set()
        now = 0.0
        while coming or waiting:
            while coming and coming[-1][1][0] <= now:
                number, (at, batch_key) = coming.pop()
                self.batcher.add(batch_key, number, at)
                waiting.add(number)
            if taken := self.batcher.take(now, len(coming)):
                waiting -= set(taken[1])
                self.batches.append((now, *taken, set(waiting)))
                now += 1 + 0.01 * len(taken[1])
                continue
            due = self.batcher.due_at(len(coming))
            assert due is None or due > now
            later = [at for at in (due, coming[-1][1][0] if coming else None) if at is not None]
            now = min(later)


keys = st.sampled_from([key(SMALL), key(SMALL, "n"), key(WIDE), key(LARGE)])
gaps = st.one_of(st.just(0.0), st.floats(0, 0.2), st.floats(0, 20))
limits = st.builds(
    BatchLimits,
    st.integers(1, 9),
    st.sampled_from([1, 128, 400, 2048, 10**9]),
    st.sampled_from([0.0, 0.5, 5.0]),
    st.booleans(),
)


@settings(deadline=None)
@given(limits, st.lists(st.tuples(gaps, keys), max_size=60))
def test_whatever_arrives_when_runs_once_in_order_within_the_bounds_and_none_is_starved(
    bounds: BatchLimits, sent: list[tuple[float, BatchKey[str]]]
) -> None:
    arrivals, now = [], 0.0
    for gap, batch_key in sent:
        now += gap
        arrivals.append((now, batch_key))
    simulation = Simulation(bounds)
    simulation.run(arrivals)
    for batch_key in {batch_key for _, batch_key in sent}:
        ran = [number for _, other, items, _ in simulation.batches if other == batch_key for number in items]
        assert ran == [number for number, (_, other) in enumerate(arrivals) if other == batch_key]
    for at, batch_key, items, waiting in simulation.batches:
        assert all(arrivals[number][0] <= at for number in items)
        assert {arrivals[number][1] for number in items} == {batch_key}
        assert len(items) <= bounds.count
        assert len(items) == 1 or len(items) * batch_key.pixels <= bounds.pixels
        assert not bounds.powers or len(items).bit_count() == 1
        # Once an item has waited `wait_s`, only batches with older items go before it.
        overdue = [number for number in waiting if arrivals[number][0] + bounds.wait_s <= at]
        assert all(min(items) < number for number in overdue)


def fill(batcher: Batcher[str, int], batch_key: BatchKey[str], count: int, now: float = 0.0) -> None:
    for number in range(count):
        batcher.add(batch_key, number, now)


def test_where_nothing_is_on_its_way_nothing_waits() -> None:
    batcher = Batcher[str, int](BatchLimits(count=8, wait_s=5))
    for tenth in range(6):
        batcher.add(key(SMALL), tenth, tenth / 10)
    assert batcher.due_at(coming=0) == 0.0
    assert batcher.take(0.5, coming=0) == (key(SMALL), [0, 1, 2, 3, 4, 5])


def test_one_that_comes_after_a_rest_goes_at_once_whatever_may_be_on_its_way() -> None:
    batcher = Batcher[str, int](BatchLimits(count=8, wait_s=5))
    fill(batcher, key(SMALL), 6)
    assert batcher.take(0.0, coming=0)
    batcher.add(key(SMALL), 7, 1000.0)
    assert batcher.take(1000.0, coming=8) == (key(SMALL), [7])


def test_where_others_come_fast_it_waits_as_long_as_they_take_and_no_longer_than_it_may() -> None:
    batcher = Batcher[str, int](BatchLimits(count=64, wait_s=5))
    for number in range(20):
        batcher.add(key(SMALL), number, number / 10)
    due = batcher.due_at(coming=10)
    assert due is not None and due == pytest.approx(10 * 0.1, abs=0.01)
    assert batcher.due_at(coming=1000) == pytest.approx(44 * 0.1, abs=0.01)
    for number in range(20, 25):
        batcher.add(key(SMALL), number, 2 + number)
    assert batcher.due_at(coming=1000) == 5.0


def test_a_full_batch_goes_before_an_older_one_that_waits_and_not_before_one_that_is_due() -> None:
    batcher = Batcher[str, int](BatchLimits(count=8, wait_s=5))
    for number in range(5):
        batcher.add(key(WIDE), number, number / 10)
    assert batcher.take(0.4, coming=9) is None
    fill(batcher, key(SMALL), 16, now=0.5)
    assert batcher.take(0.5, coming=9) == (key(SMALL), [0, 1, 2, 3, 4, 5, 6, 7])
    assert batcher.take(5.0, coming=9) == (key(WIDE), [0, 1, 2, 3, 4])


def test_batches_of_powers_of_two_leave_the_rest_for_the_next() -> None:
    batcher = Batcher[str, int](BatchLimits(count=12, powers=True))
    fill(batcher, key(SMALL), 15)
    sizes = []
    while taken := batcher.take(0.0, coming=0):
        sizes.append(len(taken[1]))
    assert sizes == [8, 4, 2, 1]


def test_a_kind_that_was_too_large_for_the_memory_comes_in_halves_from_then_on_and_others_do_not() -> None:
    batcher = Batcher[str, int](BatchLimits(count=8))
    batcher.halve(key(SMALL), 8)
    for shape, limit in ((SMALL, 4), (WIDE, 8)):
        fill(batcher, key(shape), 8)
        taken = batcher.take(0.0, coming=0)
        assert taken and len(taken[1]) == limit
        batcher.empty()
    batcher.halve(key(SMALL), 1)
    fill(batcher, BatchKey("loaded again", "m", SMALL), 2)
    assert batcher.take(0.0, coming=0) == (BatchKey("loaded again", "m", SMALL), [0])


def test_what_is_emptied_waits_no_more() -> None:
    batcher = Batcher[str, int](BatchLimits(count=2))
    fill(batcher, key(SMALL), 3)
    assert (len(batcher), batcher.empty(), len(batcher), batcher.due_at(0)) == (3, [0, 1, 2], 0, None)
