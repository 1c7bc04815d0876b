"""Stacks in a real ledger: the split, and what the ends of planes and of their stack mean for each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis import Redis

from maskq.producer.errors import PayloadMissing, QueueFull, StoreFull
from maskq.producer.schema import Failure, JobSpec, Limits, Stage, State
from maskq.producer.state.ledger import Claim, Granted, Ledger, Plane, StageResult
from maskq.producer.state.store import FsspecStore, Payload, PayloadStore, RedisStore
from maskq.tasks.reconciler import Reconciler
from tests.conftest import text, until

QUEUES = ("embed.fixed", "embed.varied", "cluster")
PLANES = ("stack-00003", "stack-00004", "stack-00005")


@pytest.fixture(params=["in Redis", "elsewhere"])
def store(request: pytest.FixtureRequest, redis: Redis, tmp_path: Path) -> PayloadStore:
    return RedisStore(redis, 100) if request.param == "in Redis" else FsspecStore(str(tmp_path))


@pytest.fixture
def ledger(redis: Redis, store: PayloadStore) -> Ledger:
    return Ledger(redis, store, retention_s=100, dead_retention_s=1000, max_attempts=1, max_queued=2, window=50)


def planes(numbers: range = range(3, 6), spec: JobSpec = JobSpec()) -> Iterator[Plane]:
    return (Plane(n, spec.model_copy(update={"name": f"Z={n}"}), "4x4", b"image %d" % n) for n in numbers)


def claim(ledger: Ledger, job_id: str, stage: Stage = Stage.EMBED, owner: str = "a") -> Claim:
    claim = Claim(job_id, stage, owner)
    granted = ledger.claim(claim)
    assert isinstance(granted, Granted), granted
    return claim


def manifest(split: Iterator[Plane] | None = None) -> StageResult:
    return StageResult("3 planes", {Payload.FIELDS: b"manifest"}, planes=split or planes())


@pytest.fixture
def split(ledger: Ledger) -> Claim:
    """A stack of the planes 3 to 5 that was split."""
    ledger.create("stack", JobSpec(client="c", priority=7), None, b"stack's image")
    embed = claim(ledger, "stack")
    assert ledger.finish(embed, manifest())
    return embed


def finish(ledger: Ledger, job_id: str) -> None:
    """Take a plane through both stages."""
    assert ledger.finish(claim(ledger, job_id), StageResult("", {Payload.FIELDS: b"fields"}))
    result = {Payload.LABELS: b"labels of " + job_id.encode(), Payload.OBJECTS: b"objects"}
    assert ledger.finish(claim(ledger, job_id, Stage.CLUSTER), StageResult("", result, obsolete=(Payload.FIELDS,)))


def fail(ledger: Ledger, job_id: str) -> None:
    assert ledger.fail(claim(ledger, job_id), Failure(type="NonFiniteImage", message="NaN"))


def kill(ledger: Ledger, job_id: str) -> None:
    assert ledger.release(claim(ledger, job_id), "MemoryError")
    assert ledger.state(job_id) is State.DEAD


def cancel(ledger: Ledger, job_id: str) -> None:
    assert ledger.cancel(job_id) is State.CANCELLED


def expire(ledger: Ledger, job_id: str) -> None:
    ledger._redis.zadd("maskq:expiring", {job_id: 1})
    assert job_id in list(ledger.expire_overdue())


ENDS = {"done": finish, "failed": fail, "dead": kill, "cancelled": cancel, "expired": expire}


def members(redis: Redis, *names: str) -> set[str]:
    return {text(member) for name in names for member in redis.zrange(f"maskq:{name}", 0, -1)}


def waiting(redis: Redis) -> set[str]:
    return members(redis, *(f"waits:{queue}" for queue in QUEUES))


def stored(store: PayloadStore, job_id: str) -> set[Payload]:
    def has(kind: Payload) -> bool:
        try:
            return bool(store.get(job_id, kind))
        except PayloadMissing:
            return False

    return {kind for kind in Payload if has(kind)}


def assert_nothing_is_open(ledger: Ledger, redis: Redis) -> None:
    assert ledger.unfinished() == 0 and redis.get("maskq:bytes") == b"0" and not redis.exists("maskq:clients")
    assert not waiting(redis) | members(redis, "stacks", "leases", "delayed", "active", "expiring")


def test_a_split_makes_each_plane_a_job_like_its_stack_though_the_queue_is_full(
    ledger: Ledger, redis: Redis, store: PayloadStore, split: Claim
) -> None:
    stack = ledger.status("stack")
    assert stack.state is State.EMBEDDED and stack.planes
    assert (stack.planes.total, stack.planes.done, stack.parent) == (3, 0, None)
    for plane in PLANES:
        job = ledger.status(plane)
        assert (job.state, job.parent, job.planes, job.spec.name) == (State.QUEUED, "stack", None, f"Z={plane[-1]}")
        assert stored(store, plane) == {Payload.IMAGE}
    assert waiting(redis) == set(PLANES)
    assert (redis.hget("maskq:clients", "c"), redis.get("maskq:bytes")) == (b"4", b"34")
    assert members(redis, "active") == {"stack", *PLANES}
    assert redis.llen("embed.varied\x06\x162") == 4 and not redis.keys("cluster*")
    with pytest.raises(QueueFull, match="4 jobs are unfinished"):
        ledger.create("other", JobSpec(), None)


def test_a_stack_waits_for_its_planes_and_then_for_its_second_stage(ledger: Ledger, redis: Redis, split: Claim) -> None:
    for done, plane in enumerate(PLANES):
        counts = ledger.status("stack").planes
        assert counts and counts.done == done
        assert ledger.claim(Claim("stack", Stage.CLUSTER)) == "embedded"
        assert "stack" not in waiting(redis)
        finish(ledger, plane)
    assert waiting(redis) == {"stack"} and not redis.exists("maskq:stacks")
    assert ledger.finish(claim(ledger, "stack", Stage.CLUSTER))
    assert ledger.state("stack") is State.DONE


def test_planes_of_a_stack_that_is_done_are_gone(
    ledger: Ledger, redis: Redis, store: PayloadStore, split: Claim
) -> None:
    for plane in PLANES:
        finish(ledger, plane)
        assert stored(store, plane) >= {Payload.LABELS, Payload.OBJECTS}
        assert redis.ttl(f"maskq:job:{plane}") == -1 and plane not in members(redis, "kept")
    result = StageResult("", {Payload.LABELS: b"labels", Payload.OBJECTS: b"objects"}, obsolete=(Payload.FIELDS,))
    assert ledger.finish(claim(ledger, "stack", Stage.CLUSTER), result)
    assert not any(stored(store, plane) or ledger.exists(plane) for plane in PLANES)
    assert stored(store, "stack") == {Payload.IMAGE, Payload.LABELS, Payload.OBJECTS}
    assert members(redis, "kept") == {"stack"}
    assert_nothing_is_open(ledger, redis)


@pytest.mark.parametrize("end", ENDS)
def test_however_a_plane_ends_its_stack_goes_on(ledger: Ledger, redis: Redis, split: Claim, end: str) -> None:
    for plane in PLANES:
        ENDS[end](ledger, plane)
        assert ledger.state(plane) == end
    assert waiting(redis) == {"stack"}
    assert ledger.fail(claim(ledger, "stack", Stage.CLUSTER), Failure(type="PlanesFailed", message="3, 4, 5"))
    assert_nothing_is_open(ledger, redis)
    for plane in PLANES:
        assert 0 < redis.ttl(f"maskq:job:{plane}") <= (1000 if end == "dead" else 100)
        assert not ledger.requeue(plane)


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_a_stack_that_ends_takes_its_planes_with_it(
    ledger: Ledger, redis: Redis, store: PayloadStore, split: Claim, end: str
) -> None:
    finish(ledger, PLANES[0])
    held = claim(ledger, PLANES[1])
    with ledger.cancellations() as cancelled:
        ENDS[end](ledger, "stack")
        heard: list[str | None] = []
        until(lambda: heard.append(cancelled.wait(1)) or set(PLANES[1:]) <= {*heard})  # type: ignore[func-returns-value]
    assert ledger.state(PLANES[0]) is State.DONE
    for plane in PLANES[1:]:
        job = ledger.status(plane)
        assert job.state is State.CANCELLED and job.error and job.error.message.endswith(f"its stack is {end}")
        assert ledger.claim(Claim(plane, Stage.EMBED)) == "cancelled"
    assert not ledger.finish(held, StageResult("", {Payload.FIELDS: b"fields"}))
    assert_nothing_is_open(ledger, redis)
    assert members(redis, "kept") == {"stack", *PLANES}
    if end == "cancelled":
        assert not any(stored(store, job_id) - {Payload.FIELDS} for job_id in ("stack", *PLANES))
    elif isinstance(store, RedisStore):
        assert not any(stored(store, job_id) for job_id in PLANES)


def test_planes_expire_with_their_stack(redis: Redis) -> None:
    ledger = Ledger(redis)
    ledger.create("stack", JobSpec(limits=Limits(expires_s=1000)), None)
    assert ledger.finish(claim(ledger, "stack"), manifest())
    assert {redis.zscore("maskq:expiring", job_id) for job_id in PLANES} == {redis.zscore("maskq:expiring", "stack")}


def test_a_split_whose_answer_was_lost_is_asked_again(ledger: Ledger, redis: Redis, split: Claim) -> None:
    before = {key: redis.hgetall(key) for key in redis.keys("maskq:job:*")}
    assert ledger.finish(split, manifest())
    assert {key: redis.hgetall(key) for key in redis.keys("maskq:job:*")} == before
    finish(ledger, PLANES[0])
    assert ledger.finish(split, manifest())
    counts = ledger.status("stack").planes
    assert counts and counts.done == 1 and ledger.state(PLANES[0]) is State.DONE


def test_a_worker_that_lost_the_stack_splits_nothing_and_spoils_nothing(
    ledger: Ledger, redis: Redis, store: PayloadStore
) -> None:
    ledger.create("stack", JobSpec(), None)
    late = claim(ledger, "stack", owner="late")
    ledger.return_to_queue(late)
    held = claim(ledger, "stack", owner="held")
    assert not ledger.finish(late, manifest())
    assert ledger.finish(held, manifest())
    assert not ledger.finish(late, manifest())
    assert all(stored(store, plane) == {Payload.IMAGE} for plane in PLANES)
    for plane in PLANES:
        granted = ledger.claim(Claim(plane, Stage.EMBED), Payload.IMAGE)
        assert isinstance(granted, Granted) and granted.read().startswith(b"image")
        assert redis.ttl(f"maskq:payload:{plane}:image") in (-1, -2)


def test_a_worker_that_dies_within_a_split_leaves_it_to_the_next(ledger: Ledger, redis: Redis) -> None:
    ledger.create("stack", JobSpec(), None)
    claim(ledger, "stack", owner="dead")
    for number in (3, 4):
        ledger._store.put(f"stack-{number:05d}", Payload.IMAGE, b"by a worker that died")
    redis.zadd("maskq:leases", {"stack": 1})
    roomy = Ledger(redis, ledger._store, max_attempts=2)
    assert list(roomy.reclaim_lost()) == ["stack"]
    assert roomy.finish(claim(roomy, "stack", owner="next"), manifest())
    assert {roomy.state(plane) for plane in PLANES} == {State.QUEUED}
    assert roomy.payload(PLANES[0], Payload.IMAGE) == b"image 3"


def test_planes_of_a_split_that_fails_leave_nothing(ledger: Ledger, store: PayloadStore) -> None:
    ledger.create("stack", JobSpec(), None)
    embed = claim(ledger, "stack")

    def breaks() -> Iterator[Plane]:
        yield from planes()
        raise ZeroDivisionError("the next plane is damaged")

    with pytest.raises(ZeroDivisionError):
        ledger.finish(embed, manifest(breaks()))
    assert ledger.state("stack") is State.EMBEDDING
    assert not any(stored(store, plane) or ledger.exists(plane) for plane in PLANES)


def test_a_split_that_finds_no_room_leaves_nothing(redis: Redis, ledger: Ledger, store: PayloadStore) -> None:
    ledger.create("stack", JobSpec(), None)
    embed = claim(ledger, "stack")

    def fills() -> Iterator[Plane]:
        yield from planes()
        redis.config_set("maxmemory", 1)

    try:
        with pytest.raises(StoreFull):
            ledger.finish(embed, manifest(fills()))
    finally:
        redis.config_set("maxmemory", 0)
    assert ledger.state("stack") is State.EMBEDDING
    assert not any(stored(store, plane) or ledger.exists(plane) for plane in PLANES)


def test_a_dead_plane_is_tried_again_while_its_stack_waits(ledger: Ledger, redis: Redis, split: Claim) -> None:
    kill(ledger, PLANES[0])
    finish(ledger, PLANES[1])
    assert ledger.requeue(PLANES[0])
    finish(ledger, PLANES[2])
    assert ledger.claim(Claim("stack", Stage.CLUSTER)) == "embedded"
    finish(ledger, PLANES[0])
    assert ledger.finish(claim(ledger, "stack", Stage.CLUSTER))
    assert_nothing_is_open(ledger, redis)


def test_a_stack_that_died_while_it_was_put_together_is_tried_again_with_its_planes(
    ledger: Ledger, redis: Redis, store: PayloadStore, split: Claim
) -> None:
    for plane in PLANES:
        finish(ledger, plane)
    assert ledger.release(claim(ledger, "stack", Stage.CLUSTER), "MemoryError")
    assert ledger.state("stack") is State.DEAD
    assert all(100 < redis.ttl(f"maskq:job:{plane}") <= 1000 for plane in PLANES)
    assert ledger.requeue("stack")
    assert all(redis.ttl(f"maskq:job:{plane}") == -1 for plane in PLANES)
    assert members(redis, "kept") == set() and all(stored(store, plane) >= {Payload.LABELS} for plane in PLANES)
    assert ledger.finish(claim(ledger, "stack", Stage.CLUSTER))
    assert_nothing_is_open(ledger, redis)
    assert not any(ledger.exists(plane) for plane in PLANES)


def test_a_stack_that_died_before_it_was_split_is_split_when_it_is_tried_again(ledger: Ledger) -> None:
    ledger.create("stack", JobSpec(), None)
    kill(ledger, "stack")
    assert ledger.requeue("stack")
    assert ledger.finish(claim(ledger, "stack"), manifest())
    assert {ledger.state(plane) for plane in PLANES} == {State.QUEUED}


@pytest.mark.parametrize("forget", [Ledger.delete, lambda ledger, job_id: [*ledger.purge([job_id])]])
def test_a_stack_is_forgotten_with_its_planes(
    ledger: Ledger, redis: Redis, store: PayloadStore, split: Claim, forget: Callable[[Ledger, str], Any]
) -> None:
    finish(ledger, PLANES[0])
    kill(ledger, PLANES[1])
    assert not ledger.delete("stack")
    ledger.cancel("stack")
    forget(ledger, "stack")
    assert not any(stored(store, job_id) or ledger.exists(job_id) for job_id in ("stack", *PLANES))
    assert not members(redis, "kept", "dead")
    assert_nothing_is_open(ledger, redis)


def test_a_stack_whose_planes_are_lost_is_woken(ledger: Ledger, redis: Redis, split: Claim) -> None:
    finish(ledger, PLANES[0])
    for plane in PLANES[1:]:
        redis.delete(f"maskq:job:{plane}")
    reconciler = Reconciler(redis, ledger, resend_s=1000)
    reconciler.run_round()
    assert "stack" not in waiting(redis)
    redis.zadd("maskq:stacks", {"stack": 1})
    reconciler.run_round()
    assert "stack" in waiting(redis)
    claim(ledger, "stack", Stage.CLUSTER)


def test_the_reconciler_lets_a_stack_wait(ledger: Ledger, redis: Redis, split: Claim) -> None:
    redis.zadd("maskq:stacks", {"stack": 1})
    assert Reconciler(redis, ledger, resend_s=1000).run_round() == 0
    assert "stack" not in waiting(redis) and members(redis, "stacks") == {"stack"}
    assert (redis.zscore("maskq:stacks", "stack") or 0) > 1


def test_who_waits_for_a_stack_is_woken_by_each_plane(redis: Redis, split: Claim, ledger: Ledger) -> None:
    with redis.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
        pubsub.subscribe("maskq:job:stack")
        until(lambda: redis.pubsub_numsub("maskq:job:stack")[0][1])
        finish(ledger, PLANES[0])
        assert until(lambda: pubsub.get_message(timeout=1))["data"] == b"embedded"


def test_planes_are_not_in_the_outbox(ledger: Ledger, split: Claim) -> None:
    for plane in PLANES:
        finish(ledger, plane)
    ledger.finish(claim(ledger, "stack", Stage.CLUSTER))
    assert [end.job_id for end in ledger.ends()] == ["stack"]


def test_a_stack_may_take_longer_than_an_image_to_put_together(redis: Redis) -> None:
    for limit_s, sent in ((100.0, b'"timelimit":[130,null]'), (float("inf"), b'"timelimit":[null,null]')):
        redis.flushall()
        ledger = Ledger(redis, stage_limit_s=limit_s)
        ledger.create("stack", JobSpec(), None)
        ledger.finish(claim(ledger, "stack"), manifest())
        for plane in PLANES:
            finish(ledger, plane)
        assert sent in (redis.lindex("cluster\x06\x164", 0) or b"")


class StackMachine(RuleBasedStateMachine):
    """A stack of three planes: every transition in any order, each made on any of the four jobs.

    What ends the stack for good is rarer than what ends planes: otherwise few runs would see a stack put together.
    """

    redis: Redis
    jobs = st.sampled_from(["stack", *PLANES])
    mostly_planes = st.sampled_from([*PLANES, *PLANES, *PLANES, "stack"])
    stages = st.sampled_from(Stage)

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.ledger = Ledger(self.redis, max_attempts=2, window=2, lease_s=1000)
        self.ledger.create("stack", JobSpec(client="c"), None, b"image")

    @initialize(split=st.sampled_from([True, True, False]))
    def split(self, split: bool) -> None:
        if split:
            assert self.ledger.finish(claim(self.ledger, "stack"), manifest())

    @rule(job_id=jobs)
    def work(self, job_id: str) -> None:
        """Take a waiting job through its next stage."""
        for stage in Stage:
            self.claim(job_id, stage, 0)
            if self._exists(job_id) and self.ledger.state(job_id) is stage.working:
                self.finish(job_id, stage, twice=False)
                return

    def _held(self, job_id: str, stage: Stage) -> Claim:
        return Claim(job_id, stage, text(self.redis.hget(f"maskq:job:{job_id}", "owner") or b"nobody"))

    def _exists(self, job_id: str) -> bool:
        return self.ledger.exists(job_id)

    @rule(job_id=jobs, stage=stages, number=st.integers(0, 1 << 30))
    def claim(self, job_id: str, stage: Stage, number: int) -> None:
        granted = self.ledger.claim(Claim(job_id, stage, f"owner{number}"))
        if isinstance(granted, Granted) and granted.job.planes:
            assert granted.job.planes.done == granted.job.planes.total

    @rule(job_id=jobs, stage=stages, twice=st.booleans())
    def finish(self, job_id: str, stage: Stage, twice: bool) -> None:
        splits = job_id == "stack" and stage is Stage.EMBED
        held = self._held(job_id, stage)
        for _ in range(1 + twice):
            if self._exists(job_id) and self.ledger.state(job_id) in (stage.working, stage.finished):
                self.ledger.finish(held, manifest() if splits else StageResult("", {Payload.LABELS: b"labels"}))

    @rule(job_id=mostly_planes, stage=stages)
    def fail(self, job_id: str, stage: Stage) -> None:
        self.ledger.fail(self._held(job_id, stage), Failure(type="NotAnImage", message=""))

    @rule(job_id=jobs, stage=stages)
    def release(self, job_id: str, stage: Stage) -> None:
        self.ledger.release(self._held(job_id, stage), "MemoryError")

    @rule(job_id=jobs)
    def lose_the_worker(self, job_id: str) -> None:
        if self.redis.zscore("maskq:leases", job_id):
            self.redis.zadd("maskq:leases", {job_id: 1})
        list(self.ledger.reclaim_lost())

    @rule(job_id=mostly_planes)
    def cancel(self, job_id: str) -> None:
        if self._exists(job_id):
            self.ledger.cancel(job_id)

    @rule(job_id=jobs)
    def requeue(self, job_id: str) -> None:
        self.ledger.requeue(job_id)

    @rule(job_id=mostly_planes)
    def expire(self, job_id: str) -> None:
        if self.redis.zscore("maskq:active", job_id):
            self.redis.zadd("maskq:expiring", {job_id: 1})
            list(self.ledger.expire_overdue())
            self.redis.zrem("maskq:expiring", job_id)

    @rule()
    def recount(self) -> None:
        for stack in members(self.redis, "stacks"):
            self.redis.zadd("maskq:stacks", {stack: 1})
        assert list(self.ledger.recount_stacks()) == []

    @invariant()
    def the_stack_waits_exactly_as_long_as_planes_are_open(self) -> None:
        stack = self.ledger.status("stack")
        states = [self.ledger.state(plane) for plane in PLANES if self._exists(plane)]
        open_ = sum(not state.ended for state in states)
        if stack.state.ended:
            assert open_ == 0
            assert not states if stack.state is State.DONE else True
        elif stack.planes:
            assert stack.planes.total - stack.planes.done == open_ and len(states) == 3
            waits = stack.state is State.EMBEDDED
            assert ("stack" in waiting(self.redis)) == (waits and open_ == 0)
            assert members(self.redis, "stacks") == ({"stack"} if open_ else set())
        else:
            assert not states

    @invariant()
    def what_is_counted_are_the_unfinished_jobs(self) -> None:
        jobs = {job_id for job_id in ("stack", *PLANES) if self._exists(job_id)}
        unfinished = {job_id for job_id in jobs if not self.ledger.state(job_id).ended}
        assert members(self.redis, "active") == unfinished
        assert int(self.redis.hget("maskq:clients", "c") or 0) == len(unfinished)
        assert int(self.redis.get("maskq:bytes") or 0) == sum(5 if job == "stack" else 7 for job in unfinished)
        held = {job_id for job_id in jobs if self.ledger.state(job_id) in (State.EMBEDDING, State.CLUSTERING)}
        assert members(self.redis, "leases") == held
        ended_stack = self.ledger.state("stack").ended
        for job_id in jobs - unfinished:
            assert (self.redis.ttl(f"maskq:job:{job_id}") > 0) == (ended_stack or job_id == "stack")


def test_a_stack_and_its_planes_agree_whatever_happens(redis: Redis) -> None:
    machine = type("Machine", (StackMachine,), {"redis": redis})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
