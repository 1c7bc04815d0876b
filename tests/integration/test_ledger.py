"""The ledger with a real Redis, compared with a model of it, and used by many threads at once."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis import Redis
from redis.client import PubSub

from maskq.producer.errors import IdempotencyConflict, QueueFull, StoreFull, UnknownJob
from maskq.producer.schema import Failure, JobSpec, Limits, Options, Stage, State
from maskq.producer.state.keys import job_key
from maskq.producer.state.ledger import Claim, Granted, Identity, Ledger, StageResult
from maskq.producer.state.routing import CLUSTER_QUEUE, EMBED_QUEUES, message_lists
from maskq.producer.state.store import Payload, RedisStore
from tests.conftest import text, until

MOST_QUEUED, MOST_ATTEMPTS, RETENTION_S, DEAD_RETENTION_S = 6, 2, 100, 1000
#: The shape of a job that is large in both stages with `tta`.
IMAGE, FIELDS = b"image", b"some fields"
LARGE, LARGE_WORK = "4000x4000", 8 * 16_000_000
QUEUES = (*EMBED_QUEUES, CLUSTER_QUEUE)
ENDED_BADLY = {
    State.FAILED: "NotAnImage",
    State.CANCELLED: "JobCancelled",
    State.EXPIRED: "JobExpired",
    State.DEAD: "JobDead",
}


def ledger_of(redis: Redis, lease_s: float = 1000) -> Ledger:
    return Ledger(
        redis,
        retention_s=RETENTION_S,
        dead_retention_s=DEAD_RETENTION_S,
        max_queued=MOST_QUEUED,
        lease_s=lease_s,
        max_attempts=MOST_ATTEMPTS,
        window=2,
    )


def answer(granted: Granted | str) -> str:
    """`ok` if a claim was granted, else the reason for the refusal."""
    return "ok" if isinstance(granted, Granted) else granted


@dataclass
class Modelled:
    """The expected state of a job."""

    expires: bool
    large: bool = False
    client: str = ""
    state: State = State.QUEUED
    owner: str = ""
    stored: int = 0
    lease_over: bool = False
    delayed: bool = False
    attempts: dict[Stage, int] = field(default_factory=dict)

    @property
    def stage(self) -> Stage | None:
        """The stage that the job waits for or is in."""
        return next((stage for stage in Stage if self.state in (stage.waiting, stage.working)), None)

    @property
    def waiting(self) -> bool:
        return self.stage is not None and not self.held

    def fail_attempt(self) -> None:
        """Apply a failed attempt."""
        assert self.stage
        self.state = State.DEAD if self.attempts[self.stage] == MOST_ATTEMPTS else self.stage.waiting

    @property
    def kept_bytes(self) -> int:
        """The bytes that the job holds after its end."""
        if not self.state.ended or self.state is State.CANCELLED:
            return 0
        return len(IMAGE) + (self.stored if self.state in (State.DONE, State.DEAD) else 0)

    @property
    def held(self) -> bool:
        return self.stage is not None and self.state is self.stage.working


class LedgerMachine(RuleBasedStateMachine):
    """Every transition, in any order, by the lease's owner and by others. A lease lasts a microsecond or 15 minutes."""

    redis: Redis
    ids = Bundle("ids")
    stages = st.sampled_from(Stage)
    leases = st.sampled_from(["over at once", "long"])
    owners = st.sampled_from(["who holds it", "another"])
    clients = st.sampled_from(["", "a"])

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.ledgers = {"long": ledger_of(self.redis), "over at once": ledger_of(self.redis, lease_s=1e-6)}
        self.ledger = self.ledgers["long"]
        self.jobs: dict[str, Modelled] = {}
        self.claims = 0

    def _unfinished(self) -> set[str]:
        return {job_id for job_id, job in self.jobs.items() if not job.state.ended}

    @rule(target=ids, expires=st.booleans(), large=st.booleans(), client=clients)
    def create(self, expires: bool, large: bool, client: str) -> str:
        job_id, shape = f"job{len(self.jobs)}", LARGE if large else None
        limits = Limits(expires_s=1e-6 if expires else None)
        spec = JobSpec(client=client, limits=limits, options=Options(tta=large))
        if len(self._unfinished()) == MOST_QUEUED:
            with pytest.raises(QueueFull, match="6 jobs are unfinished"):
                self.ledger.create(job_id, spec, shape, IMAGE)
            return "refused"
        self.ledger.create(job_id, spec, shape, IMAGE)
        self.jobs[job_id] = Modelled(expires, large, client)
        return job_id

    @rule(job_id=ids)
    def create_again(self, job_id: str) -> None:
        if job_id in self.jobs and len(self._unfinished()) < MOST_QUEUED:
            self.ledger.create(job_id, JobSpec(name="an impostor"), None)

    @rule(job_id=ids, stage=stages, lease=leases)
    def claim(self, job_id: str, stage: Stage, lease: str) -> None:
        self.claims += 1
        owner = f"owner{self.claims}"
        granted = answer(self.ledgers[lease].claim(Claim(job_id, stage, owner)))
        if (job := self.jobs.get(job_id)) is None:
            assert granted == "unknown"
        elif job.state is not stage.waiting:
            assert granted == job.state
        elif job.expires:
            job.state = State.EXPIRED
            assert granted == job.state
        else:
            assert granted == "ok"
            job.state, job.owner, job.lease_over = stage.working, owner, lease == "over at once"
            job.attempts[stage] = job.attempts.get(stage, 0) + 1
            job.delayed = False

    @rule(job_id=ids)
    def claim_again_because_the_answer_was_lost(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job and job.stage and job.held:
            assert answer(self.ledger.claim(Claim(job_id, job.stage, job.owner))) == "ok"

    def _held(self, job_id: str, owner: str) -> tuple[Modelled | None, str, bool]:
        """The job, the owner's name, and whether that owner holds it."""
        job = self.jobs.get(job_id)
        name = job.owner if job and owner == "who holds it" else "another"
        return job, name, bool(job and job.held and name == job.owner)

    @rule(job_id=ids, owner=owners, lease=leases)
    def renew(self, job_id: str, owner: str, lease: str) -> None:
        job, name, held = self._held(job_id, owner)
        assert self.ledgers[lease].renew(Claim(job_id, Stage.EMBED, name)) == held
        if job and held:
            job.lease_over = lease == "over at once"

    @rule(job_id=ids, owner=owners, twice=st.booleans())
    def finish(self, job_id: str, owner: str, twice: bool) -> None:
        job, name, held = self._held(job_id, owner)
        stage = (job and job.stage) or Stage.CLUSTER
        payload = Payload.FIELDS if stage is Stage.EMBED else Payload.LABELS
        result = StageResult("", {payload: FIELDS})
        told = self.ledger.finish(Claim(job_id, stage, name), result)
        if job and held:
            assert told
            job.state = stage.finished
            job.stored = len(FIELDS)
            assert not twice or self.ledger.finish(Claim(job_id, stage, name), result)
        elif not (job and job.state is State.DONE and name == job.owner):
            assert not told

    @rule(job_id=ids, owner=owners)
    def fail(self, job_id: str, owner: str) -> None:
        job, name, held = self._held(job_id, owner)
        assert (
            self.ledger.fail(Claim(job_id, Stage.EMBED, name), Failure(type="NotAnImage", message='"quoted" é')) == held
        )
        if job and held:
            job.state = State.FAILED

    @rule(job_id=ids, owner=owners, delay=st.sampled_from([0.0, 1e-6, 1000.0]))
    def release(self, job_id: str, owner: str, delay: float) -> None:
        job, name, held = self._held(job_id, owner)
        assert self.ledger.release(Claim(job_id, Stage.EMBED, name), "out of memory", delay) == held
        if job and held:
            job.fail_attempt()
            job.delayed = job.waiting and delay == 1000

    @rule(job_id=ids, owner=owners)
    def return_to_queue(self, job_id: str, owner: str) -> None:
        job, name, held = self._held(job_id, owner)
        assert self.ledger.return_to_queue(Claim(job_id, Stage.EMBED, name)) == held
        if job and job.stage and held:
            job.attempts[job.stage] -= 1
            job.state = job.stage.waiting

    @rule()
    def resume(self) -> None:
        list(self.ledger.resume_delayed())
        assert set(self.ledger.resume_delayed()) == set()

    @rule()
    def reclaim(self) -> None:
        lost = {job_id for job_id, job in self.jobs.items() if job.held and job.lease_over}
        assert set(self.ledger.reclaim_lost()) == lost
        for job_id in lost:
            self.jobs[job_id].fail_attempt()
            assert self.ledger.status(job_id).suspect

    @rule()
    def expire(self) -> None:
        overdue = {job_id for job_id, job in self.jobs.items() if job.waiting and job.expires}
        assert set(self.ledger.expire_overdue()) == overdue
        for job_id in overdue:
            self.jobs[job_id].state = State.EXPIRED

    @rule(job_id=ids)
    def requeue(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        dead = bool(job and job.state is State.DEAD)
        assert self.ledger.requeue(job_id) == dead
        if job and dead:
            job.state = next(stage for stage in Stage if job.attempts.get(stage) == MOST_ATTEMPTS).waiting
            assert job.stage
            job.attempts.pop(job.stage)

    @rule(which=st.integers(0, 100))
    def lose_a_message(self, which: int) -> None:
        """Remove the oldest message of a queue, like a worker that dies right after it fetched the message."""
        lists = [name for name in message_lists() if self.redis.llen(name)]
        if lists:
            self.redis.rpop(lists[which % len(lists)])

    @rule()
    def resend(self) -> None:
        list(self.ledger.resume_delayed())
        assert set(self.ledger.resend_lost(1000)) == set()
        unheard = {job_id for job_id, job in self.jobs.items() if job.waiting} - self._to_be_woken()
        assert set(self.ledger.resend_lost(0)) == unheard
        assert set(self.ledger.resend_lost(0)) == set()

    def _to_be_woken(self) -> set[str]:
        """The waiting jobs that a message, an entry in a line or the end of a delay will wake."""
        heard = {job_id for job_id, job in self.jobs.items() if job.delayed}
        for key in self.redis.scan_iter("maskq:line:*"):
            heard |= {text(item).split()[2] for item in self.redis.lrange(key, 0, -1)}
        for name in message_lists():
            for message in map(json.loads, self.redis.lrange(name, 0, -1)):
                (job_id,), _, _ = json.loads(message["body"])
                job = self.jobs[job_id]
                sent = int(self.redis.hget(f"maskq:job:{job_id}", "sent") or 0)
                if job.waiting and message["headers"]["id"] == f"{job_id}-{job.stage}-{sent}":
                    heard.add(job_id)
        return heard

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        if (job := self.jobs.get(job_id)) is None:
            with pytest.raises(UnknownJob, match=job_id):
                self.ledger.cancel(job_id)
            return
        if not job.state.ended:
            job.state = State.CANCELLED
            job.delayed = False
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
            return {text(member) for name in names for member in self.redis.zrange(f"maskq:{name}", 0, -1)}

        assert listed("active") == self._unfinished()
        assert listed("leases") == {job_id for job_id, job in self.jobs.items() if job.held}
        assert listed(*(f"waits:{name}" for name in QUEUES)) == self._unfinished() - listed("leases")
        assert listed("delayed") >= {job_id for job_id, job in self.jobs.items() if job.waiting and job.delayed}
        assert listed(*(f"sent:{name}" for name in QUEUES)) <= listed(*(f"waits:{name}" for name in QUEUES))
        entries = [
            text(entry) for kind in ("images", "results") for entry in self.redis.zrange(f"maskq:held:{kind}", 0, -1)
        ]
        assert sum(job.kept_bytes for job in self.jobs.values()) == sum(int(entry.split()[0]) for entry in entries)
        assert sum(job.kept_bytes for job in self.jobs.values()) == int(self.redis.get("maskq:held:bytes") or 0)
        for client in ("", "a"):
            mine = [job for job_id, job in self.jobs.items() if job_id in self._unfinished() and job.client == client]
            counted = self.redis.hmget("maskq:clients", client, f"{client}:work")
            assert [int(count or 0) for count in counted] == [
                len(mine),
                sum(LARGE_WORK if job.large else len(IMAGE) // 2 for job in mine),
            ]
        for name in QUEUES:
            at_work = {text(each) for each in self.redis.smembers(f"maskq:large:{name}")}
            stage = Stage.CLUSTER if name == CLUSTER_QUEUE else Stage.EMBED
            begun = {i for i, job in self.jobs.items() if job.large and job.stage is stage and job.held}
            asked = {i for i in listed(f"sent:{name}") if self.jobs[i].large}
            assert asked <= at_work and at_work - asked == (begun if name != "embed.fixed" else set())
        assert listed("dead") == {job_id for job_id, job in self.jobs.items() if job.state is State.DEAD}
        for job_id, job in self.jobs.items():
            kept = self.redis.ttl(f"maskq:job:{job_id}")
            most = DEAD_RETENTION_S if job.state is State.DEAD else RETENTION_S
            assert 0 < kept <= most if job.state.ended else kept == -1


def test_the_ledger_is_its_model(redis: Redis) -> None:
    machine = type("Machine", (LedgerMachine,), {"redis": redis})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_of_many_who_claim_a_stage_at_once_one_gets_it(redis: Redis) -> None:
    ledger = ledger_of(redis)
    for n in range(20):
        ledger.create(f"job{n}", JobSpec(), None)

        def claim(who: int, job_id: str = f"job{n}") -> str:
            return answer(ledger.claim(Claim(job_id, Stage.EMBED, f"owner{who}")))

        granted = _at_once(16, claim)
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
            assert answer(ledger.claim(Claim(job_id, Stage.EMBED, owner), worker="gpu0@here")) == "ok"
        ledger.release(Claim("refused", Stage.EMBED, f"b{n}"), "MemoryError: 2 GiB")
        assert list(ledger.reclaim_lost()) == ["crashed"]
    assert (
        answer(ledger.claim(Claim("crashed", Stage.EMBED, "c")))
        == answer(ledger.claim(Claim("refused", Stage.EMBED, "c")))
        == "dead"
    )
    assert [job.id for job in ledger.dead()] == ["refused", "crashed"]
    told = ledger.status("refused").history
    assert [(one.attempt, one.worker, one.error) for one in told] == [
        (n + 1, "gpu0@here", "MemoryError: 2 GiB") for n in range(MOST_ATTEMPTS)
    ]
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
    ledger.claim(Claim("job", Stage.EMBED, "one"))
    ledger.release(Claim("job", Stage.EMBED, "one"), "why not")
    ledger.claim(Claim("job", Stage.EMBED, "two"))
    ledger.finish(Claim("job", Stage.EMBED, "two"))
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


# Lines


def woken(redis: Redis) -> Iterator[str]:
    """The jobs of the messages, in the order in which a worker takes them."""
    while lists := [name for name in message_lists() if redis.llen(name)]:
        message: Any = redis.rpop(lists[0])
        (job_id,), _, _ = json.loads(json.loads(message)["body"])
        yield job_id


def served(redis: Redis, ledger: Ledger) -> Iterator[str]:
    """The jobs in the order in which a worker gets them, one at a time."""
    for job_id in woken(redis):
        assert answer(ledger.claim(Claim(job_id, Stage.EMBED, f"owner of {job_id}"))) == "ok"
        yield job_id


def roomy(redis: Redis, **rules: Any) -> Ledger:
    return Ledger(redis, max_queued=10_000, **({"window": 4} | rules))


def test_a_burst_of_one_client_delays_the_job_of_another_by_no_more_than_the_window(redis: Redis) -> None:
    ledger = roomy(redis)
    for n in range(500):
        ledger.create(f"a{n}", JobSpec(client="a"), None)
    assert sum(redis.llen(name) for name in message_lists()) == 4
    ledger.create("b", JobSpec(client="b"), None)
    order = list(served(redis, ledger))
    assert order.index("b") <= 5
    assert [job_id for job_id in order if job_id != "b"] == [f"a{n}" for n in range(500)]


def test_a_job_that_ends_while_redis_has_yet_to_hear_that_someone_waits_is_waited_for_no_longer(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, subscribe = ledger_of(redis), PubSub.subscribe
    ledger.create("a", JobSpec(name="a.png"), None)

    def late(self: PubSub, *channels: str) -> None:
        """Subscribe as over a slow connection: the job ends before Redis reads the command."""
        if channels != (job_key("a"),):  # other tests' threads listen too
            return subscribe(self, *channels)
        threading.Timer(0.1, ledger.cancel, ("a",)).start()
        threading.Timer(0.3, subscribe, (self, *channels)).start()
        return None

    monkeypatch.setattr(PubSub, "subscribe", late)
    monkeypatch.setattr("maskq.producer.state.ledger.waiting.LOOK_AGAIN_S", 60.0)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ledger.wait, "a", 10.0).result(5).state is State.CANCELLED


def test_clients_take_turns(redis: Redis) -> None:
    ledger = roomy(redis, window=1)
    for n in range(3):
        ledger.create(f"a{n}", JobSpec(client="a"), None)
    for n in range(3):
        for client in "bc":
            ledger.create(f"{client}{n}", JobSpec(client=client), None)
    assert list(served(redis, ledger)) == ["a0", "a1", "b0", "c0", "a2", "b1", "c1", "b2", "c2"]


def test_what_is_urgent_goes_first_and_what_has_waited_long_is_urgent_some_day(redis: Redis) -> None:
    ledger = roomy(redis, window=1, age_s=0.05)
    ledger.create("first", JobSpec(), None)
    ledger.create("patient", JobSpec(priority=0), None)
    ledger.create("urgent", JobSpec(priority=9), None)
    order = served(redis, ledger)
    assert [next(order), next(order)] == ["first", "urgent"]
    until(lambda: time.time() > ledger.status("patient").times[State.QUEUED] + 10 * 0.05)
    ledger.create("late", JobSpec(priority=8), None)
    assert list(order) == ["patient", "late"]


def test_a_job_that_is_tried_again_is_as_old_as_those_that_have_waited_as_long(redis: Redis) -> None:
    ledger = roomy(redis, window=1, age_s=0.05, lease_s=1e-6)
    ledger.create("unlucky", JobSpec(), None)
    ledger.create("waits", JobSpec(), None)
    order = served(redis, ledger)
    assert next(order) == "unlucky"
    until(lambda: time.time() > ledger.status("waits").times[State.QUEUED] + 10 * 0.05)
    ledger.create("urgent", JobSpec(priority=9), None)
    until(lambda: list(ledger.reclaim_lost()) == ["unlucky"])
    assert next(order) == "unlucky"


def test_jobs_that_were_cancelled_in_their_line_are_passed_over(redis: Redis) -> None:
    ledger = roomy(redis)
    for n in range(50):
        ledger.create(f"job{n}", JobSpec(), None)
    for n in range(4, 49):
        ledger.cancel(f"job{n}")
    assert list(served(redis, ledger)) == ["job0", "job1", "job2", "job3", "job49"]


# Bounds


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"max_queued": 2}, "2 jobs are unfinished, as many as may be"),
        ({"max_queued_bytes": 25}, "take 20 of 25 bytes"),
        ({"max_client_queued": 2}, "2 jobs of this client"),
    ],
)
def test_each_bound_is_kept_and_says_how_long_the_queue_is(redis: Redis, rules: dict[str, int], said: str) -> None:
    ledger = Ledger(redis, **rules)
    for n in range(2):
        ledger.create(f"job{n}", JobSpec(client="a"), None, image=bytes(10))
    with pytest.raises(QueueFull, match=f"{said}.*2 jobs in all") as full:
        ledger.create("job2", JobSpec(client="a"), None, image=bytes(10))
    assert full.value.retry_after_s > 0
    ledger.cancel("job0")
    assert ledger.create("job2", JobSpec(client="a"), None, image=bytes(10)) == "job2"


def test_what_counts_towards_the_bounds_is_given_back_however_a_job_ends(redis: Redis) -> None:
    ledger = Ledger(redis, max_attempts=1)
    for n in range(3):
        ledger.create(f"job{n}", JobSpec(client="a"), None, image=bytes(10))
        ledger.claim(Claim(f"job{n}", Stage.EMBED, "one"))
    ledger.fail(Claim("job0", Stage.EMBED, "one"), Failure(type="NotAnImage", message=""))
    ledger.release(Claim("job1", Stage.EMBED, "one"), "MemoryError")
    ledger.cancel("job2")
    assert (ledger.status("job1").state, redis.get("maskq:bytes")) == (State.DEAD, b"0")
    assert not redis.exists("maskq:clients")
    ledger.requeue("job1")
    assert redis.get("maskq:bytes") == b"10"


# Repeats


def done(ledger: Ledger, job_id: str) -> None:
    for stage in Stage:
        ledger.claim(Claim(job_id, stage, "a"))
        assert ledger.finish(Claim(job_id, stage, "a"))


def keyed(key: str, request: str = "this") -> Identity:
    return Identity(key=key, request=request)


def test_a_key_means_one_job_however_it_ended(redis: Redis) -> None:
    ledger = Ledger(redis)
    ledger.create("one", JobSpec(), None, identity=keyed("a:k"))
    ledger.cancel("one")
    assert ledger.create("two", JobSpec(), None, identity=keyed("a:k")) == "one"
    assert ledger.create("three", JobSpec(), None, identity=keyed("b:k")) == "three"
    assert not ledger.exists("two")


def test_a_key_that_comes_with_another_request_is_refused_and_leaves_nothing(redis: Redis) -> None:
    ledger = Ledger(redis)
    ledger.create("one", JobSpec(), None, b"image", keyed("a:k"))
    for _ in range(2):
        with pytest.raises(IdempotencyConflict, match="means job one"):
            ledger.create("two", JobSpec(), None, b"another image", keyed("a:k", "that"))
    assert {text(key) for key in redis.scan_iter("maskq:payload:*")} == {"maskq:payload:one:image"}
    assert ledger.create("two", JobSpec(), None, b"image", keyed("a:k")) == "one"


def test_a_key_goes_with_its_job(redis: Redis) -> None:
    ledger = Ledger(redis, retention_s=100)
    ledger.create("one", JobSpec(), None, identity=keyed("a:k"))
    assert redis.ttl("maskq:key:a:k") == -1
    done(ledger, "one")
    assert 0 < redis.ttl("maskq:key:a:k") <= 100
    ledger.delete("one")
    assert not redis.exists("maskq:key:a:k")
    assert ledger.create("two", JobSpec(), None, identity=keyed("a:k", "that")) == "two"


def test_a_dead_letter_that_is_tried_again_keeps_its_key(redis: Redis) -> None:
    ledger = Ledger(redis, max_attempts=1)
    ledger.create("one", JobSpec(), None, identity=keyed("a:k"))
    ledger.claim(Claim("one", Stage.EMBED, "a"))
    ledger.release(Claim("one", Stage.EMBED, "a"), "MemoryError")
    assert redis.ttl("maskq:key:a:k") > 0
    ledger.requeue("one")
    assert redis.ttl("maskq:key:a:k") == -1
    assert ledger.create("two", JobSpec(), None, identity=keyed("a:k")) == "one"


def test_of_many_who_submit_under_one_key_at_once_all_get_one_job(redis: Redis) -> None:
    ledger = Ledger(redis)
    got = _at_once(16, lambda who: ledger.create(f"job{who}", JobSpec(), None, identity=keyed("a:k")))
    assert len(set(got)) == 1
    assert ledger.unfinished() == 1


# Retention


@pytest.mark.parametrize(("failed_input_s", "kept_s"), [(7, 7), (1000, RETENTION_S)])
def test_the_image_of_a_failed_job_goes_before_its_record(redis: Redis, failed_input_s: int, kept_s: int) -> None:
    ledger = Ledger(redis, retention_s=RETENTION_S, failed_input_s=failed_input_s, max_attempts=1)
    for job_id in ("failed", "dead", "done"):
        ledger.create(job_id, JobSpec(), None, b"image")
    ledger.claim(Claim("failed", Stage.EMBED, "a"))
    ledger.fail(Claim("failed", Stage.EMBED, "a"), Failure(type="NotAnImage", message=""))
    ledger.claim(Claim("dead", Stage.EMBED, "a"))
    ledger.release(Claim("dead", Stage.EMBED, "a"), "MemoryError")
    done(ledger, "done")
    assert kept_s - 5 < redis.ttl("maskq:payload:failed:image") <= kept_s
    assert redis.ttl("maskq:payload:done:image") > RETENTION_S - 5 < redis.ttl("maskq:job:failed")
    assert redis.ttl("maskq:payload:dead:image") > 1000


def test_nothing_is_left_of_jobs_that_were_kept_for_their_time(redis: Redis) -> None:
    ledger = Ledger(redis, retention_s=1, dead_retention_s=1, max_attempts=1)
    ends = (
        lambda job_id: ledger.fail(Claim(job_id, Stage.EMBED, "one"), Failure(type="NotAnImage", message="")),
        lambda job_id: ledger.release(Claim(job_id, Stage.EMBED, "one"), "MemoryError"),
        lambda job_id: ledger.cancel(job_id),
        lambda job_id: ledger.finish(Claim(job_id, Stage.EMBED, "one")),
    )
    for n in range(40):
        job_id = ledger.create(f"job{n}", JobSpec(client=f"c{n % 3}"), "8x9", identity=Identity(f"sha{n}", f"c:k{n}"))
        ledger.claim(Claim(job_id, Stage.EMBED, "one"))
        ends[n % 4](job_id)
        ledger.claim(Claim(job_id, Stage.CLUSTER, "one"))
        ledger.finish(Claim(job_id, Stage.CLUSTER, "one"))
    redis.delete(*message_lists())
    assert list(ledger.resend_lost(0)) == []
    until(lambda: len(ledger.past_retention()) == 40)
    for job_id in ledger.past_retention():
        ledger.delete(job_id)
    assert list(ledger.dead()) == []
    bounded = {b"maskq:bytes", b"maskq:endings"}
    until(lambda: {key for key in redis.scan_iter() if not key.startswith(b"maskq:ended:")} == bounded)


# Defects found in code review


def test_a_job_that_only_waited_for_its_turn_when_its_worker_died_is_no_suspect(redis: Redis) -> None:
    ledger = Ledger(redis, max_attempts=1)
    ledger.create("job", JobSpec(), None)
    ledger.claim(Claim("job", Stage.EMBED, "one"))
    ledger.pause(Claim("job", Stage.EMBED, "one"), waits=True)
    redis.zadd("maskq:leases", {"job": 1})
    assert list(ledger.reclaim_lost()) == ["job"]
    job = ledger.status("job")
    assert (job.state, job.suspect, job.attempts, job.history) == (State.QUEUED, False, {Stage.EMBED: 0}, ())


def test_a_redis_that_is_full_lets_workers_finish_and_users_cancel(redis: Redis) -> None:
    ledger = Ledger(redis)
    for n in range(4):
        ledger.create(f"job{n}", JobSpec(), None)
    redis.config_set("maxmemory", 1)
    try:
        for n in range(2):
            assert answer(ledger.claim(Claim(f"job{n}", Stage.EMBED, "one"))) == "ok"
        assert answer(ledger.claim(Claim("job2", Stage.EMBED, "one"), Payload.IMAGE)) == "ok"
        assert ledger.renew(Claim("job0", Stage.EMBED, "one"))
        assert ledger.return_to_queue(Claim("job0", Stage.EMBED, "one"))
        assert ledger.release(Claim("job1", Stage.EMBED, "one"), "MemoryError")
        assert ledger.finish(Claim("job2", Stage.EMBED, "one"))
        assert ledger.cancel("job3") is State.CANCELLED
    finally:
        redis.config_set("maxmemory", 0)


def test_a_full_redis_is_told_at_once_and_without_the_image(redis: Redis) -> None:
    store, image = RedisStore(redis, 100), os.urandom(4 << 20)
    store.check_room = lambda size: None  # type: ignore[method-assign]  # the store is full only now
    ledger = Ledger(redis, store)
    redis.config_set("maxmemory", 1)
    try:
        began = time.process_time()
        with pytest.raises(StoreFull) as told:
            ledger.create("job", JobSpec(), None, image)
    finally:
        redis.config_set("maxmemory", 0)
    assert time.process_time() - began < 0.5 and len(str(told.value)) < 300


def test_messages_of_jobs_that_were_cancelled_are_no_more_than_the_window(redis: Redis) -> None:
    ledger = roomy(redis)
    for n in range(50):
        ledger.create(f"job{n}", JobSpec(), None)
        ledger.cancel(f"job{n}")
    assert sum(redis.llen(name) for name in message_lists()) == 4
    ledger.create("wanted", JobSpec(), None)
    claimed = [answer(ledger.claim(Claim(job_id, Stage.EMBED, "one"))) for job_id in woken(redis)]
    assert claimed == ["cancelled"] * 4 + ["ok"]


def test_a_clock_that_was_set_back_puts_no_job_where_no_one_looks(redis: Redis) -> None:
    ledger = Ledger(redis)
    ledger.create("job", JobSpec(priority=0), None)
    ledger.claim(Claim("job", Stage.EMBED, "one"))
    redis.hset("maskq:job:job", "time:queued", redis.time()[0] + 1000)
    ledger.return_to_queue(Claim("job", Stage.EMBED, "one"))
    assert {text(key) for key in redis.keys("embed*")} <= set(message_lists())


def test_a_bound_may_be_infinite_or_huge(redis: Redis) -> None:
    ledger = Ledger(redis, age_s=float("inf"), max_queued=(1 << 63) - 1, max_queued_bytes=(1 << 63) - 1)
    ledger.create("job", JobSpec(priority=0), None)
    done(ledger, "job")
    assert ledger.state("job") is State.DONE
