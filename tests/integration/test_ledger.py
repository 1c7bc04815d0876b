"""The ledger over a real Redis: against a model of it, and against itself in many threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis import Redis

from producer.broker import message_lists
from producer.contract import Failure, JobSpec, JobStatus, Limits, Stage, State
from producer.errors import QueueFull, UnknownJob
from producer.ledger import Ledger
from tests.conftest import until

MOST_QUEUED, MOST_ATTEMPTS, RETENTION_S = 4, 2, 100
ENDED_BADLY = {
    State.FAILED: "NotAnImage",
    State.CANCELLED: "JobCancelled",
    State.EXPIRED: "JobExpired",
    State.DEAD: "JobDead",
}


def ledger_of(redis: Redis, lease_s: float = 1000) -> Ledger:
    return Ledger(redis, retention_s=RETENTION_S, max_queued=MOST_QUEUED, lease_s=lease_s, max_attempts=MOST_ATTEMPTS)


def answer(granted: JobStatus | str) -> str:
    """`ok` where a claim was granted, else why not."""
    return "ok" if isinstance(granted, JobStatus) else granted


@dataclass
class Modelled:
    """What the ledger should think of a job."""

    expires: bool
    state: State = State.QUEUED
    owner: str = ""
    lease_over: bool = False
    attempts: dict[Stage, int] = field(default_factory=dict)

    @property
    def stage(self) -> Stage | None:
        """The stage that it waits for or is in."""
        return next((stage for stage in Stage if self.state in (stage.waiting, stage.working)), None)

    @property
    def held(self) -> bool:
        return self.stage is not None and self.state is self.stage.working


class LedgerMachine(RuleBasedStateMachine):
    """Every transition, in any order, by the right owner and by others. A lease is a microsecond or a quarter hour."""

    redis: Redis
    ids = Bundle("ids")
    stages = st.sampled_from(Stage)
    leases = st.sampled_from(["over at once", "long"])
    owners = st.sampled_from(["who holds it", "another"])

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.ledgers = {"long": ledger_of(self.redis), "over at once": ledger_of(self.redis, lease_s=1e-6)}
        self.ledger = self.ledgers["long"]
        self.jobs: dict[str, Modelled] = {}
        self.claims = 0

    def _unfinished(self) -> set[str]:
        return {job_id for job_id, job in self.jobs.items() if not job.state.ended}

    @rule(target=ids, expires=st.booleans())
    def create(self, expires: bool) -> str:
        job_id = f"job{len(self.jobs)}"
        spec = JobSpec(limits=Limits(expires_s=1e-6 if expires else None))
        if len(self._unfinished()) == MOST_QUEUED:
            with pytest.raises(QueueFull, match="4 jobs are unfinished"):
                self.ledger.create(job_id, spec, None)
            return "refused"
        self.ledger.create(job_id, spec, None)
        self.jobs[job_id] = Modelled(expires)
        return job_id

    @rule(job_id=ids)
    def create_again(self, job_id: str) -> None:
        if job_id in self.jobs and len(self._unfinished()) < MOST_QUEUED:
            self.ledger.create(job_id, JobSpec(name="an impostor"), None)

    @rule(job_id=ids, stage=stages, lease=leases)
    def claim(self, job_id: str, stage: Stage, lease: str) -> None:
        self.claims += 1
        owner = f"owner{self.claims}"
        granted = answer(self.ledgers[lease].claim(job_id, stage, owner))
        if (job := self.jobs.get(job_id)) is None:
            assert granted == "unknown"
        elif job.state is not stage.waiting:
            assert granted == job.state
        elif job.expires:
            job.state = State.EXPIRED
            assert granted == job.state
        elif job.attempts.get(stage) == MOST_ATTEMPTS:
            job.state = State.DEAD
            assert granted == job.state
        else:
            assert granted == "ok"
            job.state, job.owner, job.lease_over = stage.working, owner, lease == "over at once"
            job.attempts[stage] = job.attempts.get(stage, 0) + 1

    @rule(job_id=ids)
    def claim_again_because_the_answer_was_lost(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job and job.stage and job.held:
            assert answer(self.ledger.claim(job_id, job.stage, job.owner)) == "ok"

    def _held(self, job_id: str, owner: str) -> tuple[Modelled | None, str, bool]:
        """The job, the owner's name, and whether that owner holds it."""
        job = self.jobs.get(job_id)
        name = job.owner if job and owner == "who holds it" else "another"
        return job, name, bool(job and job.held and name == job.owner)

    @rule(job_id=ids, owner=owners, lease=leases)
    def renew(self, job_id: str, owner: str, lease: str) -> None:
        job, name, held = self._held(job_id, owner)
        assert self.ledgers[lease].renew(job_id, name) == held
        if job and held:
            job.lease_over = lease == "over at once"

    @rule(job_id=ids, owner=owners, twice=st.booleans())
    def finish(self, job_id: str, owner: str, twice: bool) -> None:
        job, name, held = self._held(job_id, owner)
        stage = (job and job.stage) or Stage.CLUSTER
        told = self.ledger.finish(job_id, stage, name)
        if job and held:
            assert told
            job.state = stage.finished
            assert not twice or self.ledger.finish(job_id, stage, name)
        elif not (job and job.state is State.DONE and name == job.owner):
            assert not told

    @rule(job_id=ids, owner=owners)
    def fail(self, job_id: str, owner: str) -> None:
        job, name, held = self._held(job_id, owner)
        assert self.ledger.fail(job_id, name, Failure(type="NotAnImage", message='"quoted" é')) == held
        if job and held:
            job.state = State.FAILED

    @rule(job_id=ids, owner=owners)
    def release(self, job_id: str, owner: str) -> None:
        job, name, held = self._held(job_id, owner)
        assert self.ledger.release(job_id, name, "out of memory") == held
        if job and job.stage and held:
            job.state = job.stage.waiting

    @rule()
    def reclaim(self) -> None:
        lost = {job_id for job_id, job in self.jobs.items() if job.held and job.lease_over}
        assert set(self.ledger.reclaim_lost()) == lost
        for job_id in lost:
            job = self.jobs[job_id]
            assert job.stage
            job.state = job.stage.waiting

    @rule(which=st.integers(0, 100))
    def lose_a_message(self, which: int) -> None:
        """As a worker that dies with what it has just taken: the oldest of a queue."""
        lists = [name for name in message_lists() if self.redis.llen(name)]
        if lists:
            self.redis.rpop(lists[which % len(lists)])

    @rule()
    def resend(self) -> None:
        assert set(self.ledger.resend_lost(1000)) == set()
        unheard = {job_id for job_id, job in self.jobs.items() if job.stage and not job.held} - set(self._heard())
        assert set(self.ledger.resend_lost(0)) == unheard
        assert set(self.ledger.resend_lost(0)) == set()

    def _heard(self) -> Iterator[str]:
        """The waiting jobs whose last message is on the queue that it belongs on."""
        for name in message_lists():
            for message in map(json.loads, self.redis.lrange(name, 0, -1)):
                (job_id,), _, _ = json.loads(message["body"])
                job = self.jobs[job_id]
                sent = int(self.redis.hget(f"maskq:job:{job_id}", "sent") or 0)
                if job.stage and not job.held and message["headers"]["id"] == f"{job_id}-{job.stage}-{sent}":
                    yield job_id

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        if (job := self.jobs.get(job_id)) is None:
            with pytest.raises(UnknownJob, match=job_id):
                self.ledger.cancel(job_id)
            return
        if not job.state.ended:
            job.state = State.CANCELLED
        assert self.ledger.cancel(job_id) is job.state

    @invariant()
    def each_job_is_where_the_model_has_it(self) -> None:
        for job_id, job in self.jobs.items():
            status = self.ledger.status(job_id)
            assert (status.state, status.attempts, status.lane) == (job.state, job.attempts, "varied")
            assert (status.error and status.error.type) == ENDED_BADLY.get(job.state)
            assert all(spent >= 0 for spent in status.timings.values())

    @invariant()
    def what_has_ended_is_kept_for_a_time_and_is_in_no_list(self) -> None:
        def listed(*names: str) -> set[str]:
            return {member.decode() for name in names for member in self.redis.zrange(f"maskq:{name}", 0, -1)}

        assert listed("active") == self._unfinished()
        assert listed("leases") == {job_id for job_id, job in self.jobs.items() if job.held}
        assert listed(*(f"waiting:{name}" for name in message_lists())) == self._unfinished() - listed("leases")
        for job_id, job in self.jobs.items():
            kept = self.redis.ttl(f"maskq:job:{job_id}")
            assert 0 < kept <= RETENTION_S if job.state.ended else kept == -1


def test_the_ledger_is_its_model(redis: Redis) -> None:
    machine = type("Machine", (LedgerMachine,), {"redis": redis})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_of_many_who_claim_a_stage_at_once_one_gets_it(redis: Redis) -> None:
    ledger = ledger_of(redis)
    for n in range(20):
        ledger.create(f"job{n}", JobSpec(), None)
        granted = _at_once(16, lambda who, n=n: answer(ledger.claim(f"job{n}", Stage.EMBED, f"owner{who}")))
        assert sorted(granted) == ["embedding"] * 15 + ["ok"]
        ledger.cancel(f"job{n}")


def test_of_many_who_submit_at_once_the_queue_takes_as_many_as_it_may(redis: Redis) -> None:
    ledger = ledger_of(redis)

    def create(who: int) -> bool:
        try:
            ledger.create(f"job{who}", JobSpec(), None)
        except QueueFull:
            return False
        return True

    assert sum(_at_once(16, create)) == MOST_QUEUED == ledger.unfinished()


def _at_once(threads: int, what: Callable[[int], Any]) -> list[Any]:
    together = threading.Barrier(threads)

    def one(who: int) -> Any:
        together.wait(20)
        return what(who)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


def test_a_job_that_is_given_up_says_why(redis: Redis) -> None:
    ledger = ledger_of(redis, lease_s=1e-6)
    ledger.create("crashed", JobSpec(), None)
    ledger.create("refused", JobSpec(), None)
    for n in range(MOST_ATTEMPTS):
        for job_id, owner in (("crashed", f"a{n}"), ("refused", f"b{n}")):
            assert answer(ledger.claim(job_id, Stage.EMBED, owner)) == "ok"
        ledger.release("refused", f"b{n}", "MemoryError: 2 GiB")
        assert list(ledger.reclaim_lost()) == ["crashed"]
    assert ledger.claim("crashed", Stage.EMBED, "c") == ledger.claim("refused", Stage.EMBED, "c") == "dead"
    died, gave_up = ledger.status("crashed").error, ledger.status("refused").error
    assert died and gave_up
    assert died.message == "gave up after 2 attempts at the embed stage: its worker stopped renewing the lease"
    assert gave_up.message == "gave up after 2 attempts at the embed stage: MemoryError: 2 GiB"
    assert died.stage is gave_up.stage is Stage.EMBED
    assert ledger.status("crashed").attempts == {Stage.EMBED: MOST_ATTEMPTS}


def test_the_times_of_a_job_that_was_tried_again_still_add_up(redis: Redis) -> None:
    ledger = ledger_of(redis)
    ledger.create("job", JobSpec(), None)
    began = ledger.status("job").times[State.QUEUED]
    ledger.claim("job", Stage.EMBED, "one")
    ledger.release("job", "one", "why not")
    ledger.claim("job", Stage.EMBED, "two")
    ledger.finish("job", Stage.EMBED, "two")
    job = ledger.status("job")
    assert job.times[State.QUEUED] == began
    assert job.timings["total"] == pytest.approx(job.timings["queued"] + job.timings["embedding"], abs=2e-6)


def test_who_waits_is_told_at_once_and_until_then_waits_as_long_as_they_said(redis: Redis) -> None:
    ledger = ledger_of(redis)
    ledger.create("job", JobSpec(), None)
    assert ledger.wait("job", timeout=0.05).state is State.QUEUED
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ledger.wait, "job", None)
        until(lambda: redis.pubsub_numsub("maskq:job:job")[0][1] == 1)
        ledger.cancel("job")
        assert waiting.result(20).state is State.CANCELLED
    assert ledger.wait("job", None).state is State.CANCELLED
    with pytest.raises(UnknownJob):
        ledger.wait("no such", None)
    until(lambda: redis.pubsub_numsub("maskq:job:job")[0][1] == 0)
