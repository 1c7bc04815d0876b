"""Reads sources lazily, as many at a time as one round trip takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeAlias

from ..errors import InvalidJob
from ..state.ledger import AT_ONCE, MAX_BYTES, NewJob
from .sources import Source

#: If reading has taken this long, what was read is sent, and not held back for more (seconds).
_READING_S = 0.02

#: A source as a job to submit, or why it can't be read.
Request: TypeAlias = "NewJob | InvalidJob | OSError"


class Requests:
    """What is left of the sources of one call. One of them at most is read ahead."""

    def __init__(self, sources: Iterable[Source], read: Callable[[Source], NewJob]) -> None:
        """`read` makes a job of a source. Raises `InvalidJob`, `OSError`."""
        self._sources, self._read = iter(sources), read
        self._ahead: Request | None = None
        self._fault: Exception | None = None

    def take(self, count: int = AT_ONCE) -> list[Request]:
        """The next requests for one round trip; empty at the end.

        They are `count` or `AT_ONCE` at most, with `MAX_BYTES` at most unless it is one alone, and fewer if reading
        takes long. What the iterator of the sources raises is raised after the requests before it were taken.
        """
        group: list[Request] = []
        size, began = 0, time.monotonic()
        while len(group) < min(count, AT_ONCE) and size < MAX_BYTES and time.monotonic() - began < _READING_S:
            try:
                request = self._next()
            except StopIteration:
                break
            except Exception as fault:
                if not group:
                    raise
                self._fault = fault
                break
            size += len(request.image) if isinstance(request, NewJob) else 0
            if group and size > MAX_BYTES:
                self._ahead = request
                break
            group.append(request)
        return group

    def _next(self) -> Request:
        """Raises `StopIteration`, and what the iterator raises."""
        if self._fault:
            raise self._fault
        if ahead := self._ahead:
            self._ahead = None
            return ahead
        source = next(self._sources)
        try:
            return self._read(source)
        except (InvalidJob, OSError) as error:
            return error
