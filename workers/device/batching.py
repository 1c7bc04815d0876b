"""Which inputs run together, and when: the batching rules, independent of threads and clocks.

Only inputs of one `BatchKey` share a batch. The key whose oldest input has waited longest goes first, once it is due:
its batch is full, or it has waited long enough, or nothing is on its way that could fill it. Until it is due, a full
batch of another key may go. So once an input has waited `wait_s` seconds, only batches with older inputs go before it.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

Model = TypeVar("Model", bound=Hashable)
Item = TypeVar("Item")

#: Maximum number of keys with statistics; the least recently used is dropped.
_MAX_KEYS = 1024


@dataclass(frozen=True)
class BatchKey(Generic[Model]):
    """The properties that all inputs of a batch share."""

    #: The loaded model: the job's own, so that no other replaces it while the job runs.
    model: Model
    #: Identifies the model after it is unloaded.
    name: str
    #: (h, w) of the batch's inputs as the network sees them.
    shape: tuple[int, int]

    @property
    def pixels(self) -> int:
        """Number of pixels of one input."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of a batch; a single input may exceed them."""

    #: Maximum number of inputs.
    count: int = 1
    #: Maximum number of pixels of all inputs together.
    pixels: int = 1 << 62
    #: Maximum time that an input waits for others, seconds.
    wait_s: float = 0.0
    #: Whether batch sizes are 1, 2, 4, 8 … only, so that few batch shapes exist.
    powers: bool = False


@dataclass
class _KeyStats:
    """The record of a key."""

    #: Maximum number of inputs in a batch as far as memory is concerned.
    limit: int
    #: Moving average of the time between two arrivals, seconds.
    gap_s: float
    last_arrival: float | None = None


class Batcher(Generic[Model, Item]):
    """Items that wait for a device. Times are seconds of any monotonic clock."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        #: Per batch key: (arrival time, sequence number, item).
        self._queues: dict[BatchKey[Model], deque[tuple[float, int, Item]]] = {}
        self._sequence = count()
        #: By the key's name and shape.
        self._stats: OrderedDict[Hashable, _KeyStats] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, key: BatchKey[Model], item: Item, now: float) -> None:
        """Queue an item that arrives now."""
        self._queues.setdefault(key, deque()).append((now, next(self._sequence), item))
        stats, longest = self._stats_of(key), 4 * self._limits.wait_s
        # A gap counts half, and as `longest` at most: two or three arrivals after a pause are enough to know the rate.
        gap_s = longest if stats.last_arrival is None else min(longest, now - stats.last_arrival)
        stats.gap_s = (stats.gap_s + gap_s) / 2
        stats.last_arrival = now

    def take(self, now: float, coming: int) -> tuple[BatchKey[Model], list[Item]] | None:
        """Remove and return the batch to run now, if one is due. `coming`: how many more items could arrive soon."""
        key = next((key for key in self._by_age() if self._due_at(key, coming) <= now), None)
        if key is None:
            return None
        queue = self._queues[key]
        batch = [queue.popleft()[-1] for _ in range(self._rounded(min(len(queue), self._limit(key))))]
        if not queue:
            del self._queues[key]
        return key, batch

    def due_at(self, coming: int) -> float | None:
        """Return when `take` has a batch if nothing else arrives; None if nothing waits."""
        return min((self._due_at(key, coming) for key in self._queues), default=None)

    def halve(self, key: BatchKey[Model], count: int) -> None:
        """Limit later batches of this key to `count // 2` inputs: `count` were too many for the memory."""
        stats = self._stats_of(key)
        stats.limit = max(1, min(stats.limit, count // 2))

    def empty(self) -> list[Item]:
        """Remove and return all items, those of the oldest key first."""
        items = [item for key in self._by_age() for _, _, item in self._queues[key]]
        self._queues.clear()
        return items

    def _by_age(self) -> list[BatchKey[Model]]:
        return sorted(self._queues, key=lambda key: self._queues[key][0][:2])

    def _due_at(self, key: BatchKey[Model], coming: int) -> float:
        """Return when the key's batch is due: at once if it is full, or if no more items are expected in time."""
        queue, stats = self._queues[key], self._stats_of(key)
        missing = min(self._limit(key) - len(queue), coming)
        if missing <= 0 or stats.gap_s > self._limits.wait_s:
            return queue[0][0]
        return queue[0][0] + min(self._limits.wait_s, stats.gap_s * missing)

    def _limit(self, key: BatchKey[Model]) -> int:
        limits = self._limits
        return self._rounded(max(1, min(limits.count, limits.pixels // key.pixels, self._stats_of(key).limit)))

    def _rounded(self, count: int) -> int:
        return 1 << (count.bit_length() - 1) if self._limits.powers else count

    def _stats_of(self, key: BatchKey[Model]) -> _KeyStats:
        name = (key.name, key.shape)
        stats = self._stats.setdefault(name, _KeyStats(self._limits.count, 4 * self._limits.wait_s))
        self._stats.move_to_end(name)
        if len(self._stats) > _MAX_KEYS:
            self._stats.popitem(last=False)
        return stats
