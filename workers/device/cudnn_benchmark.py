"""The cudnn benchmark of one device: for which shapes cudnn searches the fastest convolutions, and at what cost.

cudnn can time its algorithms on every convolution of a new shape and keep the fastest. The search takes as long as many
batches, and pays if as many follow. `on` searches every shape at its first batch, `off` none. `auto` solves a
rent-or-buy (ski rental) problem: a shape runs without the search until the time that it has lost by this adds up to the
search's cost; then it is searched, once. With a known cost, that takes never more than twice the better of `on` and
`off`: if the shape never comes again, the search cost as much as had been lost before; if it comes for ever, no more
was lost before the search than the search cost.

The cost is not known before the search, so it is estimated from this process's earlier searches, as a multiple of the
shape's own batch time without it: both grow with the pixels, and for small batches both are bound by the number of
kernels. Likewise, a shape's loss is estimated as a part of its time: the largest gain of the last searches, and at
least a quarter; the bound holds if no shape gains more than that. The very first search is made once *all* shapes
together have run as long as `INITIAL_SEARCH_COST` batches of the present shape; that time, and that search itself, is
what `auto` may lose beyond the bound.

The caller measures the times: this module is independent of torch.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

#: The setting of a device.
Benchmark = Literal["on", "off", "auto"]

#: Assumed cost of a search before the first one, in batches: about ten algorithms for each convolution, each run
#: several times, the worst of them much slower than the one in use.
INITIAL_SEARCH_COST = 100
#: The least part of its time that a shape is assumed to lose without the search.
MIN_GAIN = 0.25
#: Batches of a searched shape after which it is judged whether the search made it faster.
TRIALS = 3
#: Number of past searches from which the next one is estimated.
_HISTORY = 16


class SearchMode(Enum):
    """How a batch runs."""

    OFF = "off"
    SEARCH = "search"
    ON = "on"


@dataclass
class _Shape:
    """The record of one shape."""

    #: Total time of its batches without the search, seconds, and the shortest of them.
    off_s: float = 0.0
    min_off_s: float = float("inf")
    #: The shortest batch since the search, seconds, and the number of batches since.
    min_on_s: float = float("inf")
    trials: int = 0
    searched: bool = False
    #: The search made it slower, so it runs without from now on.
    refused: bool = False


class CudnnBenchmark:
    """Decides how each batch runs, from the times of those before. One thread uses it.

    It remembers the `max_shapes` shapes that were used last; a shape that is dropped starts from the beginning. torch
    itself caches 10,000 plans for convolutions, so a second search of a dropped shape often costs no more than a batch.
    """

    def __init__(self, setting: Benchmark, max_shapes: int = 128) -> None:
        self.setting, self._max_shapes = setting, max_shapes
        self._shapes: OrderedDict[Hashable, _Shape] = OrderedDict()
        #: Of the last searches: the cost in batches of the shape without it, and the part of the time that was gained.
        self._costs, self._gains = deque[float](maxlen=_HISTORY), deque[float](maxlen=_HISTORY)
        #: Total time of all batches without the search, seconds.
        self._off_s = 0.0
        self._batches = {SearchMode.OFF: 0, SearchMode.SEARCH: 0, SearchMode.ON: 0}
        self._search_s = 0.0

    def mode(self, shape: Hashable) -> SearchMode:
        """Decide how the next batch of this shape runs. `shape` is all that cudnn depends on: model, count, sides."""
        if self.setting == "off":
            return SearchMode.OFF
        stats = self._shapes.get(shape, _Shape())
        if stats.searched:
            return SearchMode.OFF if stats.refused else SearchMode.ON
        return SearchMode.SEARCH if self.setting == "on" or self._pays(stats) else SearchMode.OFF

    def record(self, shape: Hashable, mode: SearchMode, seconds: float) -> None:
        """Record how long a batch took in this mode."""
        self._batches[mode] += 1
        stats = self._stats_of(shape)
        if mode is SearchMode.OFF:
            stats.off_s += seconds
            stats.min_off_s = min(stats.min_off_s, seconds)
            self._off_s += seconds
        elif mode is SearchMode.SEARCH:
            stats.searched = True
            self._search_s += seconds
            if stats.off_s:
                self._costs.append(max(0.0, seconds / stats.min_off_s - 1))
        else:
            self._judge(stats, seconds)

    def counters(self) -> dict[str, str | int | float]:
        """Return the setting and its statistics, for display: seconds are rounded to milliseconds."""
        return {
            "cudnn_benchmark": self.setting,
            "cudnn_searches": self._batches[SearchMode.SEARCH],
            "cudnn_search_s": round(self._search_s, 3),
            "cudnn_batches_on": self._batches[SearchMode.SEARCH] + self._batches[SearchMode.ON],
            "cudnn_batches_off": self._batches[SearchMode.OFF],
            "cudnn_shapes": len(self._shapes),
        }

    def _pays(self, stats: _Shape) -> bool:
        """Return whether the shape's loss without the search adds up to the estimated cost of the search."""
        if not stats.off_s:
            return False
        if not self._costs:
            return self._off_s >= INITIAL_SEARCH_COST * stats.min_off_s
        gain = max(MIN_GAIN, *self._gains) if self._gains else 1.0
        return gain * stats.off_s >= sum(self._costs) / len(self._costs) * stats.min_off_s

    def _judge(self, stats: _Shape, seconds: float) -> None:
        """Count a batch since the search; after `TRIALS` of them, judge whether the search was of use."""
        stats.min_on_s = min(stats.min_on_s, seconds)
        stats.trials += 1
        if stats.trials == TRIALS and stats.off_s:
            gain = 1 - stats.min_on_s / stats.min_off_s
            self._gains.append(gain)
            stats.refused = self.setting == "auto" and gain < 0

    def _stats_of(self, shape: Hashable) -> _Shape:
        stats = self._shapes.setdefault(shape, _Shape())
        self._shapes.move_to_end(shape)
        if len(self._shapes) > self._max_shapes:
            self._shapes.popitem(last=False)
        return stats
