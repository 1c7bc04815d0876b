"""The cudnn benchmark of one device: for which shapes the fastest convolutions are searched, and what that has cost.

cudnn can try its algorithms on every convolution of a new shape and keep the fastest. The search takes as long as many
batches, and pays when as many follow. `on` searches every shape when it first comes, `off` none. `auto` rents before
it buys: a shape runs without the search until what it has lost by that adds up to the search's cost; then it is
searched, once. Against a cost that is known, that is never more than twice the better of `on` and `off`: if the shape
never comes again, as much was spent on the search as had been lost before; if it comes for ever, no more was lost
before the search than the search cost.

The cost is not known before the search, so it is estimated from those before it in this process, as so many times the
shape's own batch without it: both grow with the pixels, and small batches are bound by the number of kernels in both.
What a shape loses is, likewise, that part of its time which the best of the last searches gained, and a quarter at
least: the bound holds where no shape gains more than that. The first search of all is made once *all* shapes together
have run as long as `SEARCH` batches of the present shape; that long, and that search itself, is what `auto` may lose
beyond the bound.

Times come from outside: nothing here knows torch.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum

from .spec import Benchmark

#: What a search is taken to cost before there was one, in batches: about ten algorithms for each convolution, each run
#: several times, the worst of them much slower than what is used.
SEARCH = 100
#: The least part of its time that a shape is taken to lose without the search.
LEAST_GAIN = 0.25
#: Runs of a searched shape after which it is known whether the search has made it faster.
TRIALS = 3
#: Searches by which the next one is judged.
_REMEMBERED = 16


class SearchMode(Enum):
    """How a batch is run."""

    OFF = "off"
    SEARCH = "search"
    ON = "on"


@dataclass
class _Shape:
    """What is known of one shape."""

    #: Batches without the search, the seconds that they took, and the shortest of them.
    off_s: float = 0.0
    least_off_s: float = float("inf")
    #: The shortest batch since the search, and how many there were.
    least_on_s: float = float("inf")
    trials: int = 0
    searched: bool = False
    #: Slower for the search, so run without it for good.
    refused: bool = False


class CudnnBenchmark:
    """Says how each batch is to be run, and is told how long it took. One thread uses it.

    It remembers the `most` shapes that were used last; one that is forgotten starts anew. torch itself keeps what it
    found for 10,000 convolutions, so a forgotten shape that is searched again often costs no more than a batch.
    """

    def __init__(self, setting: Benchmark, most: int = 128) -> None:
        self.setting, self._most = setting, most
        self._shapes: OrderedDict[Hashable, _Shape] = OrderedDict()
        #: Of the last searches: what each cost in batches of its shape without it, and the part of the time gained.
        self._costs, self._gains = deque[float](maxlen=_REMEMBERED), deque[float](maxlen=_REMEMBERED)
        #: Seconds of all batches while there was no search yet.
        self._off_s = 0.0
        self._runs = {SearchMode.OFF: 0, SearchMode.SEARCH: 0, SearchMode.ON: 0}
        self._search_s = 0.0

    def next(self, shape: Hashable) -> SearchMode:
        """How a batch of this shape is run now. `shape` is whatever makes cudnn search anew: model, count, sides."""
        if self.setting == "off":
            return SearchMode.OFF
        known = self._shapes.get(shape, _Shape())
        if known.searched:
            return SearchMode.OFF if known.refused else SearchMode.ON
        return SearchMode.SEARCH if self.setting == "on" or self._pays(known) else SearchMode.OFF

    def ran(self, shape: Hashable, run: SearchMode, seconds: float) -> None:
        """A batch was run so and took so long."""
        self._runs[run] += 1
        known = self._remember(shape)
        if run is SearchMode.OFF:
            known.off_s += seconds
            known.least_off_s = min(known.least_off_s, seconds)
            self._off_s += seconds
        elif run is SearchMode.SEARCH:
            known.searched = True
            self._search_s += seconds
            if known.off_s:
                self._costs.append(max(0.0, seconds / known.least_off_s - 1))
        else:
            self._judge(known, seconds)

    def counters(self) -> dict[str, str | int | float]:
        """What it has done, as people see it: seconds rounded to milliseconds."""
        return {
            "cudnn_benchmark": self.setting,
            "cudnn_searches": self._runs[SearchMode.SEARCH],
            "cudnn_search_s": round(self._search_s, 3),
            "cudnn_batches_on": self._runs[SearchMode.SEARCH] + self._runs[SearchMode.ON],
            "cudnn_batches_off": self._runs[SearchMode.OFF],
            "cudnn_shapes": len(self._shapes),
        }

    def _pays(self, known: _Shape) -> bool:
        """Whether what the shape has lost without the search adds up to what the search would cost."""
        if not known.off_s:
            return False
        if not self._costs:
            return self._off_s >= SEARCH * known.least_off_s
        gain = max(LEAST_GAIN, *self._gains) if self._gains else 1.0
        return gain * known.off_s >= sum(self._costs) / len(self._costs) * known.least_off_s

    def _judge(self, known: _Shape, seconds: float) -> None:
        """A batch since the search: after a few, whether the search was of use."""
        known.least_on_s = min(known.least_on_s, seconds)
        known.trials += 1
        if known.trials == TRIALS and known.off_s:
            gain = 1 - known.least_on_s / known.least_off_s
            self._gains.append(gain)
            known.refused = self.setting == "auto" and gain < 0

    def _remember(self, shape: Hashable) -> _Shape:
        known = self._shapes.setdefault(shape, _Shape())
        self._shapes.move_to_end(shape)
        if len(self._shapes) > self._most:
            self._shapes.popitem(last=False)
        return known
