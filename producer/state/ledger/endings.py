"""The outbox of ended jobs: the transition that ends a job writes its end there, so no crash comes between the two."""

import logging
from dataclasses import dataclass
from typing import cast

from ...schema import State
from ..keys import ENDINGS
from .script import LedgerScript

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobEnd:
    """One job's end."""

    #: The entry in the outbox: milliseconds since 1970 by Redis's clock, and a sequence number.
    entry: str
    job_id: str
    #: done, failed, cancelled, expired or dead.
    state: State

    @property
    def time(self) -> float:
        """When the job ended, seconds since 1970 by Redis's clock."""
        return int(self.entry.partition("-")[0]) / 1000


class Outbox(LedgerScript):
    """Reads the outbox, which holds about `keys.MAX_ENDINGS` ends: beyond that the oldest are dropped."""

    def ends(self, limit: int = 100) -> list[JobEnd]:
        """The oldest ends that nobody has acknowledged, `limit` at most.

        An entry that can't be read (of another version of maskq, perhaps) is logged and removed.
        """
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", self._redis.xrange(ENDINGS, count=limit))
        ends = []
        for entry, fields in entries:
            try:
                ends.append(JobEnd(entry.decode(), fields[b"job_id"].decode(), State(fields[b"state"].decode())))
            except (KeyError, ValueError) as error:
                log.error("an end in the outbox can't be read: %r (%r)", fields, error)
                self._redis.xdel(ENDINGS, entry)
        return ends

    def acknowledge(self, ends: list[JobEnd]) -> None:
        """Remove ends from the outbox."""
        if ends:
            self._redis.xdel(ENDINGS, *(end.entry for end in ends))
