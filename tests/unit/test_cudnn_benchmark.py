"""What `auto` of the cudnn benchmark costs on simulated devices, compared with `on` and `off`."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskq.workers.device.cudnn_benchmark import INITIAL_SEARCH_COST, TRIALS, CudnnBenchmark, SearchMode


@dataclass(frozen=True)
class Simulated:
    """A device on which a batch of shape n takes `fixed` + n seconds; the search costs `search` such batches."""

    search: float = 60.0
    gain: float = 0.3
    fixed: float = 0.5

    def plain(self, shape: float) -> float:
        return self.fixed + shape

    def seconds(self, shape: float, mode: SearchMode) -> float:
        plain = self.plain(shape)
        if mode is SearchMode.OFF:
            return plain
        return plain * (1 - self.gain) + (self.search * plain if mode is SearchMode.SEARCH else 0)


def spent(device: Simulated, benchmark: CudnnBenchmark, shapes: Iterable[float], noise: float = 0) -> float:
    """Seconds that the device takes for batches of these shapes."""
    total, chance = 0.0, random.Random(0)
    for shape in shapes:
        mode = benchmark.mode(shape)
        seconds = device.seconds(shape, mode) * (1 + noise * chance.uniform(-1, 1))
        benchmark.record(shape, mode, seconds)
        total += seconds
    return total


def bound(device: Simulated, shapes: list[float]) -> float:
    """What `auto` may take: twice the better of the two, plus the time up to the end of the first search."""
    better = min(spent(device, CudnnBenchmark("on", 10**6), shapes), spent(device, CudnnBenchmark("off"), shapes))
    longest = device.plain(max(shapes))
    return 2 * better + (INITIAL_SEARCH_COST + 1 + device.search) * longest


devices = st.builds(
    Simulated,
    search=st.sampled_from([1.0, 5.0, 30.0, 100.0, 300.0]),
    gain=st.sampled_from([-1.0, -0.1, 0.0, 0.05, 0.3, 0.5, 0.7, 0.95]),
    fixed=st.sampled_from([0.0, 1.0, 10.0]),
)
#: (shape, number of batches in a row): the points at which an adversary would stop or go on.
bursts = st.lists(st.tuples(st.integers(1, 60), st.sampled_from([1, 2, 5, 29, 101, 121, 401])), min_size=1, max_size=25)


@settings(max_examples=150, deadline=None)
@given(devices, bursts)
def test_auto_takes_never_more_than_twice_what_the_better_of_on_and_off_takes(
    device: Simulated, sent: list[tuple[int, int]]
) -> None:
    shapes = [float(shape) for shape, times in sent for _ in range(times)]
    assert spent(device, CudnnBenchmark("auto"), shapes) <= bound(device, shapes) * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(devices, bursts, st.randoms(use_true_random=False))
def test_nor_where_shapes_come_mixed_and_times_vary_by_a_tenth(
    device: Simulated, sent: list[tuple[int, int]], chance: random.Random
) -> None:
    shapes = [float(shape) for shape, times in sent for _ in range(times)]
    chance.shuffle(shapes)
    assert spent(device, CudnnBenchmark("auto"), shapes, noise=0.1) <= 1.2 * bound(device, shapes)


#: The 9 image sizes of a data set of nuclei: pixels in 10⁴ → number of images.
NUCLEI = {6.55: 334, 8.2: 92, 13.5: 112, 17.7: 5, 18.7: 13, 26.6: 6, 28.2: 16, 70.2: 8, 144.4: 12}


def mixed(rounds: int) -> list[float]:
    shapes = [shape for shape, times in NUCLEI.items() for _ in range(times)] * rounds
    random.Random(1).shuffle(shapes)
    return shapes


@pytest.mark.parametrize(
    ("shapes", "best"),
    [
        (lambda: [104.7] * 5000, "on"),
        (lambda: mixed(20), "on"),
        (lambda: [float(n) for n in range(1, 3000)], "off"),
    ],
    ids=["one shape", "nine shapes, mixed", "every shape new"],
)
def test_on_real_sequences_auto_is_within_a_third_of_the_better(shapes: Callable[[], list[float]], best: str) -> None:
    sequence, device = shapes(), Simulated()
    cost = {name: spent(device, CudnnBenchmark(name, 10**6), sequence) for name in ("on", "off", "auto")}
    assert min(cost, key=lambda name: cost[name] + (name == "auto") * 1e9) == best
    assert cost["auto"] <= 4 / 3 * cost[best]


def runs(benchmark: CudnnBenchmark, shape: Hashable, times: int, off_s: float = 1.0, on_s: float = 0.5) -> str:
    """Run `times` batches; return the mode of each as o, s or b, for off, search and on."""
    modes = ""
    for _ in range(times):
        mode = benchmark.mode(shape)
        benchmark.record(
            shape, mode, {SearchMode.OFF: off_s, SearchMode.SEARCH: on_s + 10 * off_s, SearchMode.ON: on_s}[mode]
        )
        modes += {SearchMode.OFF: "o", SearchMode.SEARCH: "s", SearchMode.ON: "b"}[mode]
    return modes


def test_on_searches_each_shape_once_and_off_none() -> None:
    on, off = CudnnBenchmark("on"), CudnnBenchmark("off")
    assert [runs(on, shape, 3) for shape in "aba"] == ["sbb", "sbb", "bbb"]
    assert runs(off, "a", 3) == "ooo"
    assert (on.counters()["cudnn_searches"], off.counters()["cudnn_searches"]) == (2, 0)


def test_the_first_search_waits_for_all_shapes_together_and_those_after_it_for_their_own() -> None:
    auto = CudnnBenchmark("auto")
    assert "s" not in "".join(runs(auto, n, 1) for n in range(INITIAL_SEARCH_COST - 5))
    assert runs(auto, "a", 10) == "ooooosbbbb"  # after 5 of its own, all shapes have run as long as a search
    assert runs(auto, "b", 25) == "o" * 19 + "s" + "b" * 5  # it cost 9.5 batches and gained a half


def test_a_shape_that_the_search_made_slower_goes_back() -> None:
    auto = CudnnBenchmark("auto")
    modes = runs(auto, "a", INITIAL_SEARCH_COST + TRIALS + 5, on_s=1.2)
    assert modes == "o" * INITIAL_SEARCH_COST + "s" + "b" * TRIALS + "o" * 4


def test_no_more_shapes_are_remembered_than_may_be_and_a_forgotten_one_starts_anew() -> None:
    on = CudnnBenchmark("on", max_shapes=2)
    assert [runs(on, shape, 1) for shape in "abacab"] == ["s", "s", "b", "s", "b", "s"]
    assert on.counters()["cudnn_shapes"] == 2


def test_a_search_that_never_came_to_its_end_is_made_again() -> None:
    on = CudnnBenchmark("on")
    assert (on.mode("a"), on.mode("a")) == (SearchMode.SEARCH, SearchMode.SEARCH)


def test_the_counters_tell_what_was_run_how_and_what_the_searches_took() -> None:
    auto = CudnnBenchmark("auto")
    runs(auto, "a", INITIAL_SEARCH_COST + 4)
    assert auto.counters() == {
        "cudnn_benchmark": "auto",
        "cudnn_searches": 1,
        "cudnn_search_s": 10.5,
        "cudnn_batches_on": 4,
        "cudnn_batches_off": INITIAL_SEARCH_COST,
        "cudnn_shapes": 1,
    }
