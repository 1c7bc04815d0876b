"""The producers' transitions: a job is submitted, cancelled, requeued, deleted."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from ...errors import IdempotencyConflict, QueueFull, StoreFull, StoreUnavailable
from ...schema import JobSpec, State
from ..keys import PREFIX, Command
from ..pieces import redis_full_as_store_full
from ..routing import broker_priority
from ..store import Payload
from .records import unknown
from .stacks import Stacks
from .work import work_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """By what a submission is known as a repetition, or as equal to others."""

    #: A digest of what the job computes; jobs of one digest share the work. None: it shares nothing.
    same: str | None = None
    #: The idempotency key, within its key space; a job has one at most.
    key: str | None = None
    #: A digest of what was asked for: a repetition under the same key has to ask for the same.
    request: str = ""


class Submission(Stacks):
    """The producers' transitions."""

    def create(
        self,
        job_id: str,
        spec: JobSpec,
        shape: str | None,
        image: bytes | None = None,
        identity: Identity = Identity(),
        *,
        stored: int = 0,
    ) -> str:
        """Store the image and enter a new job as queued; returns its id, or the id of the job that the key means.

        Without an `image`, `stored` is the size in bytes of one that the store has under this id already. `shape` is
        the image's, `HxW` (None if unknown); it decides the job's lane. An idempotency key means its job however that
        ended; the repetition's image is dropped. Safe to repeat if the answer was lost. Raises `QueueFull`,
        `StoreFull`, `IdempotencyConflict`, and `BrokerUnavailable` if this Redis user may not do it.
        """
        self.check_permissions()
        size = stored if image is None else len(image)
        try:
            self._store.check_room(0 if image is None else size)
            put = self._put_image(job_id, image)
            with redis_full_as_store_full():
                entered = self._enter(new_job(job_id, spec, shape, size, identity), job_id, put)
        except (QueueFull, StoreFull, IdempotencyConflict):
            if self.exists(job_id):  # it was entered before, and the answer was lost
                return job_id
            self._try_to_drop([job_id])
            raise
        if entered != job_id:
            self._try_to_drop([job_id])
        return entered

    def check_room(self, client: str, size: int) -> None:
        """Raises `StoreFull` or `QueueFull` if a job of the client with an image of `size` bytes finds no room now."""
        self._store.check_room(size)
        answer = self._run_script("room", "", client, size)
        if answer[0] == b"full":
            raise self._queue_full(answer[1].decode(), int(answer[2]))

    def _put_image(self, job_id: str, image: bytes | None) -> Command | None:
        """Store the image, or return the command that stores it along with the transition."""
        if image is None:
            return None
        if self._redis_store and self._redis_store.is_small(image):
            return self._redis_store.put_command(job_id, Payload.IMAGE, image)
        self._store.put(job_id, Payload.IMAGE, image)
        return None

    def _enter(self, new_job: str, job_id: str, put: Command | None) -> str:
        if put:
            *_, answer = self._run_script_with([put], True, "create", job_id, new_job)
        else:
            answer = self._run_script("create", job_id, new_job)
        if answer[0] == b"full":
            raise self._queue_full(answer[1].decode(), int(answer[2]))
        if answer[0] == b"conflict":
            raise conflict(answer[1].decode())
        return cast(bytes, answer[1]).decode() if answer[0] == b"named" else job_id

    def _queue_full(self, bound: str, count: int) -> QueueFull:
        """The error that names the bound that was met, and when to try again."""
        unfinished, rate = self.unfinished(), self.rate()
        reason = {
            "jobs": f"{count:,} jobs are unfinished, as many as may be",
            "bytes": f"the images of unfinished jobs take {count:,} of {self.config.max_queued_bytes:,} bytes",
            "ended": f"ended jobs hold {count:,} of {self.config.max_ended_bytes:,} bytes of results: delete some, or "
            f"wait until they have been kept for their {self.config.retention_s:,} s",
            "client": f"{count:,} jobs of this client are unfinished, as many as may be",
            "work": f"the unfinished jobs of this client have {count:,} of {self.config.max_client_work:,} pixels "
            "(with tta eight times as many): wait for some of them, or cancel some",
        }[bound]
        wait_s = max(1.0, min(60.0, unfinished / rate / 10)) if rate else 10.0
        return QueueFull(f"{reason}; {unfinished:,} jobs in all, {rate:.1f} a second end; try again later", wait_s)

    def cancel(self, job_id: str) -> State:
        """Cancel the job unless it has ended; returns the state it then has.

        A cancelled job's payloads are dropped. Raises `UnknownJob`.
        """
        answer = self._transition("cancel", job_id)
        if answer == "unknown":
            raise unknown(job_id)
        state = State.CANCELLED if answer == "ok" else State(answer)
        if state is State.CANCELLED:
            self._try_to_drop(self._with_planes(job_id))
        return state

    def requeue(self, job_id: str) -> bool:
        """Try a dead letter once more, from the stage it died in; False if the job is none."""
        return self._transition("requeue", job_id) == "ok"

    def delete(self, job_id: str) -> bool:
        """Delete an ended job's record and payloads, and its planes; False if the job has not ended."""
        dropped = [*self._with_planes(job_id)]
        deleted = self._transition("delete", job_id) == "ok"
        if deleted:
            self._store.drop_jobs(dropped)
        return deleted

    def drop_payloads(self, job_ids: Iterable[str]) -> None:
        """Drop everything that the store has of jobs without a record."""
        self._store.drop_jobs(job_ids)

    def _try_to_drop(self, job_ids: Iterable[str]) -> None:
        """Drop what the store has of jobs. If it is away, the sweep or `maskq gc` does it."""
        try:
            self._store.drop_jobs(job_ids)
        except StoreUnavailable as error:
            log.warning("files of ended jobs could not be deleted: %s", error)


def conflict(other: str) -> IdempotencyConflict:
    """The error for a key that means the job `other`, of another request."""
    return IdempotencyConflict(
        f"this idempotency key means job {other}, which has another image, model, options or limits: give each request "
        f"a key of its own"
    )


def new_job(job_id: str, spec: JobSpec, shape: str | None, size: int, identity: Identity) -> str:
    """The argument of the script's `create`."""
    new = {
        "spec": spec.model_dump_json(),
        "argsrepr": f"({job_id[:8]}, {spec.model}, {spec.name})",
        "priority": broker_priority(spec.priority),
        "shape": shape or "",
        "client": spec.client,
        "bytes": size,
        "work": work_of(shape, size, spec.options),
        "expires_s": spec.limits.expires_s,
        "same": f"{PREFIX}same:{identity.same}" if identity.same else "",
        "key": f"{PREFIX}key:{identity.key}" if identity.key else "",
        "request": identity.request,
    }
    return json.dumps(new)
