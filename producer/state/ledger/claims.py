"""The workers' transitions: a stage is claimed, kept, and finished, failed, released or returned to its queue."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ...errors import UnknownJob
from ...schema import Failure, JobStatus, Stage, State
from ..pieces import redis_full_as_store_full
from ..store import Payload
from .records import read_status
from .stacks import Plane, Stacks


@dataclass(frozen=True)
class Claim:
    """A worker's claim on one stage of a job. The stage is finished, failed, released or returned with it."""

    job_id: str
    stage: Stage
    #: A random token: proof that the claim is this one. (Not a uuid, which asks the kernel for random bytes.)
    owner: str = field(default_factory=lambda: f"{random.getrandbits(128):032x}")


@dataclass(frozen=True)
class Granted:
    """A claim that was granted."""

    job: JobStatus
    #: Returns the payload that the claim asked for, once: it is not kept here. Raises `PayloadMissing`.
    read: Callable[[], bytes]
    #: Whether an equal job may have the result, or compute it: see `Sharing.share`.
    twin: bool = False
    #: Pixels times views, as the submission told.
    work: int = 0


@dataclass(frozen=True)
class StageResult:
    """The result of a stage."""

    #: One line for people; Flower shows it as the task's result.
    summary: str
    #: The payloads to store.
    payloads: Mapping[Payload, bytes] = field(default_factory=dict)
    #: The payloads that nobody needs once these are stored.
    obsolete: tuple[Payload, ...] = ()
    #: The planes of a stack, numbered one after the other, if the job is to be split; read while they are stored.
    planes: Iterable[Plane] | None = None
    #: Identifies the model that the first stage ran: only results of equal digests are shared.
    digest: str = ""


class Claims(Stacks):
    """The workers' transitions. A method returns False if the claim no longer holds the stage."""

    def claim(self, claim: Claim, reads: Payload | None = None, worker: str = "") -> Granted | str:
        """Claim a stage, and read a payload in the same round trip.

        Returns the state (or `unknown`) in which the stage can't be claimed if it is not granted.
        """
        job_id, arguments = claim.job_id, (claim.stage, claim.owner, worker)
        payload = None
        if self._redis_store and reads:
            get = self._redis_store.get_command(job_id, reads)
            payload, answer = self._run_script_with([get], False, "claim", job_id, *arguments)
        else:
            answer = self._run_script("claim", job_id, *arguments)
        if isinstance(answer, bytes):
            return answer.decode()
        record = dict(zip(answer[::2], answer[1::2], strict=True))
        work = int(record.get(b"work", 0))
        return Granted(read_status(job_id, record), self._reader(job_id, reads, payload), b"twin" in record, work)

    def _reader(self, job_id: str, kind: Payload | None, payload: Any) -> Callable[[], bytes]:
        # A payload in pieces is an error here, and one that is gone is None: the store tells them apart.
        fetched = [payload] if isinstance(payload, bytes) else []

        def read() -> bytes:
            assert kind is not None
            return fetched.pop() if fetched else self._store.get(job_id, kind)

        return read

    def weigh(self, claim: Claim, work: int) -> bool:
        """Record that a job has more work than its submission told.

        False if it is no longer this claim's: a large job goes back to its line if too many are being worked on.
        """
        return self._transition("weigh", claim.job_id, claim.owner, work) == "ok"

    def renew(self, claim: Claim) -> bool:
        """Renew the lease."""
        return self._transition("renew", claim.job_id, claim.owner) == "ok"

    def pause(self, claim: Claim, waits: bool) -> None:
        """Record whether the job only waits for its turn in its worker: then it is no suspect if the worker dies."""
        self._transition("pause", claim.job_id, claim.owner, "1" if waits else "")

    def finish(self, claim: Claim, result: StageResult = StageResult("")) -> bool:
        """Store the result and enter the state after the stage. Raises `StoreFull`.

        In Redis, payloads and transition are one transaction: a late worker stores nothing. In another store a late
        worker's payloads stay, since they may by now be another worker's: see `discard_late`.

        A result with `planes` splits the job: it then waits for them. Reading a plane may raise its own errors.
        """
        if result.planes is not None:
            return self._split(claim, result)
        size = sum(map(len, result.payloads.values()))
        job_id, arguments = claim.job_id, (claim.owner, claim.stage.finished, result.digest, size)
        store = self._redis_store
        if store and result.payloads:
            staged = store.stage(job_id, result.payloads, claim.owner)
            with redis_full_as_store_full():
                *_, answer = self._run_script_with(staged, True, "finish", job_id, *arguments, *result.payloads)
            return cast(bytes, answer) == b"ok"
        self._store.put_all(job_id, result.payloads)
        finished = self._transition("finish", job_id, *arguments) == "ok"
        if finished and not store:  # in Redis, the transition itself drops what is obsolete
            self._store.drop_soon(job_id, *result.obsolete)
            for plane in self._planes_of(job_id) if claim.stage is Stage.CLUSTER else ():
                self._store.drop_soon(plane, *Payload)
        return finished

    def discard_late(self, claim: Claim, result: StageResult | None) -> State:
        """The state of a job whose stage this claim has lost, after dropping payloads that nobody will read.

        A dead letter keeps its payloads: it may be requeued. A job without a record counts as cancelled.
        """
        try:
            state = self.state(claim.job_id)
        except UnknownJob:
            state = State.CANCELLED
        if result and state.ended and state not in (State.DONE, State.DEAD):
            self._store.drop_soon(claim.job_id, *result.payloads)
        return state

    def fail(self, claim: Claim, failure: Failure) -> bool:
        """End the job as failed: its image or model can't be used."""
        return self._transition("fail", claim.job_id, claim.owner, failure.type, failure.message) == "ok"

    def release(self, claim: Claim, error: str, delay_s: float = 0.0, suspect: bool = False) -> bool:
        """Give the stage up for another attempt after `delay_s` seconds. A `suspect` may be what broke the worker."""
        arguments = (error, delay_s, "1" if suspect else "")
        return self._transition("release", claim.job_id, claim.owner, *arguments) == "ok"

    def return_to_queue(self, claim: Claim, delay_s: float = 0.0) -> bool:
        """Give the stage up as if it had not been started: the attempt does not count."""
        return self._transition("return_to_queue", claim.job_id, claim.owner, delay_s) == "ok"
