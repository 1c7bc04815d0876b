"""Which inputs run together, and when: the rules by which a device forms batches, apart from threads and clocks.

Only inputs of one `BatchKey` share a batch. The key whose oldest input waited longest goes first, once it is due: its
batch is full, or it has waited long enough, or nothing is on its way that could fill it. Until it is due, a batch of
another kind that is full may go. So an input that has waited `wait_s` seconds sees no batch go before it but those of
inputs that are older.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

Model = TypeVar("Model", bound=Hashable)
Item = TypeVar("Item")

#: Kinds whose pace and limit are remembered, those used last.
_REMEMBERED = 1024


@dataclass(frozen=True)
class BatchKey(Generic[Model]):
    """What the inputs of a batch have in common."""

    #: The loaded model: the job's own, so that no other is put in its place while the job runs.
    model: Model
    #: What stays known of the model when it is no longer loaded.
    name: str
    #: (h, w) of the batch's inputs as the network sees them.
    shape: tuple[int, int]

    @property
    def pixels(self) -> int:
        """Of one input."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class BatchLimits:
    """What bounds a batch; one input is always let through."""

    #: Inputs.
    count: int = 1
    #: Pixels of all inputs together.
    pixels: int = 1 << 62
    #: Seconds that an input waits for others at most.
    wait_s: float = 0.0
    #: Whether batches are of 1, 2, 4, 8 … inputs only, so that few shapes of batches exist.
    powers: bool = False


@dataclass
class _Known:
    """What is known of a kind."""

    #: Inputs in a batch at most, as far as memory is concerned.
    most: int
    #: Seconds between two arrivals, lately.
    gap_s: float
    last: float | None = None


class Batcher(Generic[Model, Item]):
    """Items that wait for a device. Times are seconds of any clock that does not go back."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        #: In each kind's line, when an item came, the how manieth it was, and the item.
        self._lines: dict[BatchKey[Model], deque[tuple[float, int, Item]]] = {}
        self._arrivals = count()
        self._known: OrderedDict[Hashable, _Known] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, kind: BatchKey[Model], item: Item, now: float) -> None:
        """An item has come."""
        self._lines.setdefault(kind, deque()).append((now, next(self._arrivals), item))
        known, rest = self._of(kind), 4 * self._limits.wait_s
        # Half of it is the last gap; none counts for more than `rest`, so that after a rest two or three tell the pace.
        known.gap_s = (known.gap_s + min(rest, now - known.last if known.last is not None else rest)) / 2
        known.last = now

    def take(self, now: float, coming: int) -> tuple[BatchKey[Model], list[Item]] | None:
        """The batch to run now, where there is one. `coming`: how many more items could come soon."""
        chosen = next((kind for kind in self._by_age() if self._due_at(kind, coming) <= now), None)
        if chosen is None:
            return None
        line = self._lines[chosen]
        batch = [line.popleft()[-1] for _ in range(self._rounded(min(len(line), self._most(chosen))))]
        if not line:
            del self._lines[chosen]
        return chosen, batch

    def due_at(self, coming: int) -> float | None:
        """When `take` has a batch if nothing else comes; None where nothing waits."""
        return min((self._due_at(kind, coming) for kind in self._lines), default=None)

    def halve(self, kind: BatchKey[Model], count: int) -> None:
        """`count` inputs of this kind were too many for the memory: from now on half as many run together."""
        known = self._of(kind)
        known.most = max(1, min(known.most, count // 2))

    def empty(self) -> list[Item]:
        """All items, oldest kind first; none of them waits any more."""
        items = [item for kind in self._by_age() for _, _, item in self._lines[kind]]
        self._lines.clear()
        return items

    def _by_age(self) -> list[BatchKey[Model]]:
        return sorted(self._lines, key=lambda kind: self._lines[kind][0][:2])

    def _due_at(self, kind: BatchKey[Model], coming: int) -> float:
        """When the kind's batch is to go: at once where it is full or where no more of it is to be expected in time."""
        line, known = self._lines[kind], self._of(kind)
        missing = min(self._most(kind) - len(line), coming)
        if missing <= 0 or known.gap_s > self._limits.wait_s:
            return line[0][0]
        return line[0][0] + min(self._limits.wait_s, known.gap_s * missing)

    def _most(self, kind: BatchKey[Model]) -> int:
        limits = self._limits
        return self._rounded(max(1, min(limits.count, limits.pixels // kind.pixels, self._of(kind).most)))

    def _rounded(self, count: int) -> int:
        return 1 << (count.bit_length() - 1) if self._limits.powers else count

    def _of(self, kind: BatchKey[Model]) -> _Known:
        key = (kind.name, kind.shape)
        known = self._known.setdefault(key, _Known(self._limits.count, 4 * self._limits.wait_s))
        self._known.move_to_end(key)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known
