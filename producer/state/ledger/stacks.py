"""Stacks: a job whose planes become jobs of their own, and which waits for them before its second stage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ...schema import JobSpec, State
from ..keys import job_key, plane_id
from ..pieces import redis_full_as_store_full
from ..store import Payload
from .records import Records
from .work import work_of

if TYPE_CHECKING:
    from .claims import Claim, StageResult


@dataclass(frozen=True)
class Plane:
    """One plane of a stack, as it becomes a job."""

    #: Its number in the stack, from 1.
    number: int
    spec: JobSpec
    #: `HxW`, by which the ledger chooses its lane.
    shape: str
    #: The image, encoded.
    image: bytes


class Stacks(Records):
    """The transitions that concern a stack and its planes together."""

    def _split(self, claim: Claim, result: StageResult) -> bool:
        """Store the planes' images one by one, and then make all of them jobs in one transition.

        False if the claim no longer holds the stage. On any error the images that were stored are dropped, unless they
        may be another worker's by now. Raises `StoreFull`, and what reading a plane raises.
        """
        planes: list[dict[str, Any]] = []
        entered = False
        try:
            for plane in result.planes or ():
                self._store.put(plane_id(claim.job_id, plane.number), Payload.IMAGE, plane.image)
                planes.append(_new_plane(claim.job_id, plane))
            with redis_full_as_store_full():
                entered = self._enter_planes(claim, result, planes)
        finally:
            if not entered:
                with suppress(Exception):  # the broker is away: the images expire, or `maskq gc` finds them
                    self._drop_images(claim, [plane["number"] for plane in planes])
        return entered

    def _enter_planes(self, claim: Claim, result: StageResult, planes: list[dict[str, Any]]) -> bool:
        arguments = claim.owner, json.dumps(planes), result.digest
        if self._redis_store:
            staged = self._redis_store.stage(claim.job_id, result.payloads, claim.owner)
            *_, answer = self._run_script_with(staged, True, "split", claim.job_id, *arguments, *result.payloads)
            return cast(bytes, answer) == b"ok"
        self._store.put_all(claim.job_id, result.payloads)
        return self._transition("split", claim.job_id, *arguments) == "ok"

    def _drop_images(self, claim: Claim, numbers: list[int]) -> None:
        """Drop the planes' images if the claim still holds the stage, for a lease at least, or the job has ended."""
        held = self._transition("renew", claim.job_id, claim.owner)
        if held in ("ok", "unknown") or (State(held).ended and held not in (State.DONE, State.DEAD)):
            for number in numbers:
                self._store.drop(plane_id(claim.job_id, number), Payload.IMAGE)

    def _planes_of(self, job_id: str) -> Iterator[str]:
        """The ids of a stack's planes, whether they exist or not; none for other jobs."""
        from redis.exceptions import ResponseError

        try:
            planes, first = cast("list[bytes | None]", self._redis.hmget(job_key(job_id), "planes", "first_plane"))
        except ResponseError:  # a damaged record
            return
        if planes and first:
            yield from (plane_id(job_id, int(first) + number) for number in range(int(planes)))

    def _with_planes(self, job_id: str) -> Iterator[str]:
        """The job and, in a store of their own, its planes: in Redis, the script drops those.

        Call it while the job's record exists.
        """
        yield job_id
        if not self._redis_store:
            yield from self._planes_of(job_id)


def _new_plane(job_id: str, plane: Plane) -> dict[str, Any]:
    """One entry of the script's `split`."""
    return {
        "number": plane.number,
        "spec": plane.spec.model_dump_json(),
        "argsrepr": f"({job_id[:8]}, {plane.spec.model}, {plane.spec.name})",
        "shape": plane.shape,
        "bytes": len(plane.image),
        "work": work_of(plane.shape, len(plane.image), plane.spec.options),
    }
