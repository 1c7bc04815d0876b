"""The outbox of ended jobs: a job's end is written there by the transition that ends it, so that none is missed."""

from dataclasses import dataclass
from typing import cast

from ...schema import State
from ..keys import ENDINGS
from .script import LedgerScript


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
    """Reads the outbox. It holds `max_queued` ends at most: beyond that the oldest are dropped."""

    def ends(self, limit: int = 1000) -> list[JobEnd]:
        """The oldest ends that nobody has acknowledged, `limit` at most."""
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", self._redis.xrange(ENDINGS, count=limit))
        return [
            JobEnd(entry.decode(), fields[b"job_id"].decode(), State(fields[b"state"].decode()))
            for entry, fields in entries
        ]

    def acknowledge(self, ends: list[JobEnd]) -> None:
        """Remove ends from the outbox."""
        if ends:
            self._redis.xdel(ENDINGS, *(end.entry for end in ends))
