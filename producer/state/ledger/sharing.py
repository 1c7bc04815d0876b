"""Sharing: jobs that would compute the same have one computation, and each a result of its own. See `sharing.lua`."""

from enum import StrEnum

from ...errors import PayloadMissing
from ...schema import State
from ..pieces import redis_full_as_store_full
from ..store import Payload
from .claims import Claim, Claims, StageResult

_RESULT = Payload.LABELS, Payload.OBJECTS


class Shared(StrEnum):
    """What becomes of a job that may share the work of an equal one."""

    #: It is done: it has a copy of the other's result.
    COPIED = "copied"
    #: It has returned to its queue and waits, without a message, until the other ends.
    FOLLOWS = "follows"
    #: Nothing can be shared: the worker computes it, and others may wait for it.
    COMPUTE = "compute"
    #: The claim no longer holds the stage.
    LOST = "lost"


class Sharing(Claims):
    """The transition by which a job takes part in the work of an equal one."""

    def share(self, claim: Claim, digest: str) -> Shared:
        """Take the result of an equal job, or wait for it, if it was or will be computed by the model of this `digest`.

        For a claim that was granted for a `twin`. Raises `StoreFull`.
        """
        with redis_full_as_store_full():
            answer = self._run_script(
                "share", claim.job_id, claim.owner, digest, "1" if self._redis_store is not None else ""
            )
        word, *other = (part.decode() for part in answer)
        if word == "copy":
            return self._copy(claim, other[0], digest)
        return Shared(word) if word in (Shared.COPIED, Shared.FOLLOWS, Shared.COMPUTE) else Shared.LOST

    def _copy(self, claim: Claim, other: str, digest: str) -> Shared:
        """Copy a result within a store that is not the ledger's Redis, and end the job with it."""
        try:
            payloads = dict(zip(_RESULT, self._store.get_all(other, _RESULT), strict=True))
        except PayloadMissing:  # it was deleted just now
            return Shared.COMPUTE
        self._store.put_all(claim.job_id, payloads)
        size = sum(map(len, payloads.values()))
        if self._transition("finish", claim.job_id, claim.owner, State.DONE, digest, size) == "ok":
            return Shared.COPIED
        self.discard_late(claim, StageResult("", payloads))
        return Shared.LOST
