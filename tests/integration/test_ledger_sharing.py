"""Equal jobs share their work: the ledger's transitions, one by one and in random order."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis import Redis

from maskq.producer.errors import PayloadMissing, StoreFull
from maskq.producer.schema import Failure, JobSpec, Limits, Stage, State
from maskq.producer.state import pieces
from maskq.producer.state.ledger import Claim, Granted, Identity, Ledger, Plane, Shared, StageResult
from maskq.producer.state.routing import message_lists
from maskq.producer.state.store import FsspecStore, Payload, RedisStore
from tests.conftest import text

RESULT = {Payload.LABELS: b"labels", Payload.OBJECTS: b"objects"}
BADLY: dict[State, Callable[[Ledger, Claim], object]] = {
    State.FAILED: lambda ledger, claim: ledger.fail(claim, Failure(type="NotAnImage", message="")),
    State.CANCELLED: lambda ledger, claim: ledger.cancel(claim.job_id),
    State.DEAD: lambda ledger, claim: ledger.release(claim, "MemoryError"),
}


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, max_attempts=1, retention_s=1000, dead_retention_s=1000)


def submit(ledger: Ledger, *job_ids: str, same: str = "sha", priority: int = 5) -> None:
    for job_id in job_ids:
        ledger.create(job_id, JobSpec(name=job_id, priority=priority), None, b"image", Identity(same))


def share(ledger: Ledger, job_id: str, model: str = "model 1") -> Shared:
    """Claim a job's first stage and share, as a worker does; `COMPUTE` for a job without equals."""
    claim = Claim(job_id, Stage.EMBED, "me")
    granted = ledger.claim(claim, Payload.IMAGE)
    assert isinstance(granted, Granted)
    return ledger.share(claim, model) if granted.twin else Shared.COMPUTE


def embed(ledger: Ledger, job_id: str, model: str = "model 1") -> None:
    assert share(ledger, job_id, model) is Shared.COMPUTE
    assert ledger.finish(Claim(job_id, Stage.EMBED, "me"), StageResult("", {Payload.FIELDS: b"fields"}, digest=model))


def cluster(ledger: Ledger, job_id: str) -> None:
    claim = Claim(job_id, Stage.CLUSTER, "me")
    assert isinstance(ledger.claim(claim), Granted)
    assert ledger.finish(claim, StageResult("", RESULT))


def compute(ledger: Ledger, job_id: str, model: str = "model 1") -> None:
    embed(ledger, job_id, model)
    cluster(ledger, job_id)


def named_in(message: Any) -> str:
    """The job that a message names."""
    job_id: str = json.loads(json.loads(message)["body"])[0][0]
    return job_id


def take_messages(redis: Redis) -> list[str]:
    """Take the messages from the queues; returns the jobs that they name, in the order in which workers take them."""
    taken = []
    for name in message_lists():
        while message := redis.rpop(name):
            taken.append(named_in(message))
    return taken


# The result of one job for all


def test_a_job_gets_a_copy_of_an_equal_job_that_is_done(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "one")
    compute(ledger, "one")
    redis.expire("maskq:payload:one:labels", 50)
    submit(ledger, "two")
    assert share(ledger, "two") is Shared.COPIED
    assert {kind: ledger.payload("two", kind) for kind in RESULT} == RESULT
    job = ledger.status("two")
    assert (job.state, job.spec.name, list(job.timings)) == (State.DONE, "two", ["queued", "embedding", "total"])
    assert redis.ttl("maskq:payload:two:labels") > 900
    assert [end.job_id for end in ledger.ends()] == ["one", "two"]
    assert ledger.unfinished() == 0 == int(text(redis.get("maskq:bytes")))


def test_a_copy_can_be_copied_when_the_first_is_gone(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "one", "two")
    compute(ledger, "one")
    assert share(ledger, "two") is Shared.COPIED
    ledger.delete("one")
    submit(ledger, "three")
    assert share(ledger, "three") is Shared.COPIED
    assert ledger.payload("two", Payload.LABELS) == ledger.payload("three", Payload.LABELS) == b"labels"


def test_a_large_result_is_copied_in_its_pieces(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 4)
    submit(ledger, "one", "two")
    compute(ledger, "one")
    assert share(ledger, "two") is Shared.COPIED
    assert {kind: ledger.payload("two", kind) for kind in RESULT} == RESULT


def test_a_result_of_another_model_is_not_taken(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "one", "two", "three")
    compute(ledger, "one")
    compute(ledger, "two", "model 2")
    assert share(ledger, "three", "model 2") is Shared.COPIED


@pytest.mark.parametrize("kind", [*RESULT])
def test_a_result_that_is_lost_is_computed_again(redis: Redis, ledger: Ledger, kind: Payload) -> None:
    submit(ledger, "one", "two", "three")
    compute(ledger, "one")
    redis.delete(f"maskq:payload:one:{kind}")
    compute(ledger, "two")
    assert share(ledger, "three") is Shared.COPIED


def test_what_a_dropped_job_computed_is_computed_again(ledger: Ledger) -> None:
    submit(ledger, "one", "two")
    compute(ledger, "one")
    ledger.delete("one")
    compute(ledger, "two")


def test_a_stack_shares_as_other_images_do(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "one", "two", "three")
    assert share(ledger, "one") is Shared.COMPUTE
    plane = Plane(1, JobSpec(), "4x4", b"image")
    ledger.finish(Claim("one", Stage.EMBED, "me"), StageResult("", planes=[plane], digest="model 1"))
    assert share(ledger, "two") is Shared.FOLLOWS
    compute(ledger, "one-00001")
    cluster(ledger, "one")
    assert share(ledger, "two") is Shared.COPIED
    compute(ledger, "three", "model 2")


def test_a_full_redis_refuses_copies_and_nothing_else(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "one", "two", "three", same="done")
    compute(ledger, "one")
    submit(ledger, "leader", "follower", same="begun")
    embed(ledger, "leader")
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreFull):
            share(ledger, "two")
        assert ledger.state("two") is State.EMBEDDING
        assert share(ledger, "follower") is Shared.FOLLOWS
        assert share(ledger, "three", "model 2") is Shared.COMPUTE
    finally:
        redis.config_set("maxmemory", 0)


# Waiting for the result


def test_a_job_waits_for_an_equal_one_at_no_cost_until_that_is_done(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "one", "two")
    assert take_messages(redis) == ["one", "two"]
    for job_id in ("one", "two"):
        expected = Shared.COMPUTE if job_id == "one" else Shared.FOLLOWS
        assert share(ledger, job_id) is expected
    job = ledger.status("two")
    assert (job.state, job.attempts) == (State.QUEUED, {Stage.EMBED: 0})
    assert take_messages(redis) == [*ledger.resend_lost(0)] == [*ledger.wake_followers()] == []
    assert not redis.zscore("maskq:leases", "two")
    ledger.finish(Claim("one", Stage.EMBED, "me"), StageResult("", {Payload.FIELDS: b"fields"}, digest="model 1"))
    assert take_messages(redis) == ["one"]
    cluster(ledger, "one")
    assert take_messages(redis) == ["two"]
    assert share(ledger, "two") is Shared.COPIED
    assert ledger.status("two").times[State.QUEUED] == job.times[State.QUEUED]


def test_followers_go_on_in_order_before_those_who_came_later(redis: Redis) -> None:
    ledger = Ledger(redis, window=2)
    followers = [f"follower{n}" for n in range(4)]
    submit(ledger, "leader", *followers)
    for _ in range(5):
        for job_id in take_messages(redis):
            share(ledger, job_id)
    submit(ledger, *(f"later{n}" for n in range(4)), same="another")
    ledger.finish(Claim("leader", Stage.EMBED, "me"), StageResult("", {Payload.FIELDS: b"fields"}, digest="model 1"))
    cluster(ledger, "leader")
    order = []
    while taken := [job_id for job_id in take_messages(redis) if job_id != "leader"]:
        order += taken
        for job_id in taken:
            share(ledger, job_id)
    assert order == ["later0", "later1", *followers, "later2", "later3"]


@pytest.mark.parametrize("ended", BADLY)
def test_if_it_ends_without_a_result_the_first_follower_computes_and_the_others_wait(
    redis: Redis, ledger: Ledger, ended: State
) -> None:
    submit(ledger, "leader", "one", "two")
    for job_id in ("leader", "one", "two"):
        share(ledger, job_id)
    take_messages(redis)
    BADLY[ended](ledger, Claim("leader", Stage.EMBED, "me"))
    assert ledger.state("leader") is ended
    assert take_messages(redis) == ["one"]
    compute(ledger, "one")
    assert [job_id for job_id in take_messages(redis) if job_id != "one"] == ["two"]
    assert share(ledger, "two") is Shared.COPIED


def test_followers_that_have_ended_are_passed_over(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "leader", "cancelled")
    ledger.create("expired", JobSpec(limits=Limits(expires_s=1000)), None, b"image", Identity("sha"))
    submit(ledger, "heir")
    for job_id in ("leader", "cancelled", "expired", "heir"):
        share(ledger, job_id)
    take_messages(redis)
    ledger.cancel("cancelled")
    redis.zadd("maskq:expiring", {"expired": 1})
    assert list(ledger.expire_overdue()) == ["expired"]
    assert ledger.state("leader") is State.EMBEDDING and take_messages(redis) == []
    ledger.cancel("leader")
    assert take_messages(redis) == ["heir"]
    assert redis.zcard("maskq:following") == 0


def test_an_heir_that_is_cancelled_leaves_the_work_to_the_next(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "leader", "heir", "next")
    for job_id in ("leader", "heir", "next"):
        share(ledger, job_id)
    take_messages(redis)
    ledger.cancel("leader")
    ledger.cancel("heir")
    assert take_messages(redis) == ["heir", "next"]
    compute(ledger, "next")


def test_a_job_whose_equal_still_waits_in_the_queue_overtakes_it(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "patient", priority=0)
    submit(ledger, "urgent", priority=9)
    assert take_messages(redis) == ["urgent", "patient"]
    assert share(ledger, "urgent") is Shared.COMPUTE
    assert share(ledger, "patient") is Shared.FOLLOWS
    ledger.finish(Claim("urgent", Stage.EMBED, "me"), StageResult("", {Payload.FIELDS: b"fields"}, digest="model 1"))
    cluster(ledger, "urgent")
    assert share(ledger, "patient") is Shared.COPIED


@pytest.mark.parametrize(("priority", "expected"), [(9, Shared.COMPUTE), (5, Shared.FOLLOWS), (1, Shared.FOLLOWS)])
def test_a_job_does_not_wait_for_an_equal_one_that_waits_between_its_stages_with_less_priority(
    ledger: Ledger, priority: int, expected: Shared
) -> None:
    submit(ledger, "one")
    embed(ledger, "one")
    submit(ledger, "two", priority=priority)
    assert share(ledger, "two") is expected


def test_a_job_does_not_wait_for_another_model(ledger: Ledger) -> None:
    submit(ledger, "one", "two")
    embed(ledger, "one")
    assert share(ledger, "two", "model 2") is Shared.COMPUTE


# Faults


def test_a_leader_that_begins_again_is_still_the_leader(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "one", "two")
    for job_id in ("one", "two"):
        share(ledger, job_id)
    ledger.return_to_queue(Claim("one", Stage.EMBED, "me"))
    compute(ledger, "one")
    assert share(ledger, "two") is Shared.COPIED


def test_a_follower_that_has_ended_is_forgotten_while_the_leader_works(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "one", "two")
    for job_id in ("one", "two"):
        share(ledger, job_id)
    ledger.cancel("two")
    redis.zadd("maskq:following", {"two": 1})
    assert list(ledger.wake_followers()) == [] and redis.zcard("maskq:following") == 0


@pytest.mark.parametrize("fault", ["the leader waits again", "its record is lost", "the digest's key is lost"])
def test_the_reconciler_wakes_a_follower_that_nobody_tells(redis: Redis, ledger: Ledger, fault: str) -> None:
    submit(ledger, "one", "two")
    for job_id in ("one", "two"):
        share(ledger, job_id)
    if fault == "the leader waits again":
        ledger.return_to_queue(Claim("one", Stage.EMBED, "me"))
    else:
        redis.delete("maskq:job:one" if fault == "its record is lost" else "maskq:same:sha")
    take_messages(redis)
    assert list(ledger.wake_followers()) == []
    redis.zadd("maskq:following", {"two": 1})
    assert list(ledger.wake_followers()) == ["two"] == take_messages(redis)
    compute(ledger, "two")


def test_the_reconciler_lets_a_follower_wait_while_the_leader_works(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "one", "two")
    for job_id in ("one", "two"):
        share(ledger, job_id)
    take_messages(redis)
    redis.zadd("maskq:following", {"two": 1})
    assert list(ledger.wake_followers()) == take_messages(redis) == []
    assert redis.zcount("maskq:following", redis.time()[0] + 5, "+inf") == 1


def test_a_transition_whose_answer_was_lost_is_made_once(redis: Redis, ledger: Ledger) -> None:
    submit(ledger, "one", "two", "three")
    compute(ledger, "one")
    share(ledger, "two")
    assert ledger.share(Claim("two", Stage.EMBED, "me"), "model 1") is Shared.COPIED
    assert ledger.share(Claim("two", Stage.EMBED, "another"), "model 1") is Shared.LOST
    for _ in range(2):
        claim = Claim("three", Stage.EMBED, "me")
        ledger.claim(claim)
        assert ledger.share(claim, "model 2") is Shared.COMPUTE
    assert ledger.share(Claim("unknown", Stage.EMBED), "model 1") is Shared.LOST


def test_a_dead_letter_that_is_tried_again_takes_what_was_computed_since(ledger: Ledger) -> None:
    submit(ledger, "dead")
    share(ledger, "dead")
    ledger.release(Claim("dead", Stage.EMBED, "me"), "MemoryError")
    submit(ledger, "other")
    compute(ledger, "other")
    assert ledger.requeue("dead")
    assert share(ledger, "dead") is Shared.COPIED


# A store that is not Redis


@pytest.fixture
def elsewhere(redis: Redis, tmp_path: Path) -> Ledger:
    return Ledger(redis, FsspecStore(f"file://{tmp_path}"), retention_s=1000)


def test_a_result_in_another_store_is_copied_by_the_worker(elsewhere: Ledger) -> None:
    submit(elsewhere, "one", "two", "three")
    compute(elsewhere, "one")
    assert share(elsewhere, "two") is Shared.COPIED
    assert elsewhere.state("two") is State.DONE
    elsewhere.delete("one")
    assert elsewhere.payload("two", Payload.LABELS) == b"labels"
    assert share(elsewhere, "three") is Shared.COMPUTE


@pytest.mark.parametrize("gone", ["its files", "its time"])
def test_a_result_in_another_store_that_goes_is_computed_again(redis: Redis, elsewhere: Ledger, gone: str) -> None:
    submit(elsewhere, "one", "two")
    compute(elsewhere, "one")
    if gone == "its files":
        elsewhere.drop_payloads(["one"])
    else:
        redis.expire("maskq:job:one", 59)
    compute(elsewhere, "two")


def test_a_copy_of_a_cancelled_job_is_dropped_from_another_store(redis: Redis, tmp_path: Path) -> None:
    class Slow(FsspecStore):
        def get_all(self, job_id: str, kinds: Sequence[Payload]) -> tuple[bytes, ...]:
            Ledger(redis).cancel("two")
            return super().get_all(job_id, kinds)

    elsewhere = Ledger(redis, Slow(f"file://{tmp_path}"), retention_s=1000)
    submit(elsewhere, "one", "two")
    compute(elsewhere, "one")
    assert share(elsewhere, "two") is Shared.LOST
    assert elsewhere.state("two") is State.CANCELLED
    for kind in RESULT:
        with pytest.raises(PayloadMissing):
            elsewhere.payload("two", kind)


# Any order


class SharingMachine(RuleBasedStateMachine):
    """Workers, users and faults in any order. In the end all jobs have ended, and each result is its own job's."""

    redis: Redis
    which = st.integers(0, 1000)

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        store = RedisStore(self.redis, 1000)
        self.ledger = Ledger(self.redis, store, max_attempts=2, window=2, lease_s=1000, retention_s=1000)
        #: By job: its image, and the version of the model when it was submitted.
        self.jobs: dict[str, tuple[str, int]] = {}
        self.version = 1
        #: The claims that are held, with the model's version.
        self.held: list[tuple[Claim, int]] = []

    @rule(image=st.sampled_from("ab"), priority=st.sampled_from([0, 9]))
    def submit(self, image: str, priority: int) -> None:
        job_id = f"job{len(self.jobs)}"
        submit(self.ledger, job_id, same=image, priority=priority)
        self.jobs[job_id] = image, self.version

    @rule()
    def publish_a_model(self) -> None:
        self.version += 1

    @rule()
    def take_a_message(self) -> None:
        self._take_a_message()

    def _take_a_message(self) -> bool:
        for name in message_lists():
            if message := self.redis.rpop(name):
                self._claim(named_in(message), name)
                return True
        return False

    def _claim(self, job_id: str, queue: str) -> None:
        claim = Claim(job_id, Stage.CLUSTER if queue.startswith("cluster") else Stage.EMBED)
        granted = self.ledger.claim(claim, Payload.IMAGE)
        if isinstance(granted, Granted):
            shared = (
                self.ledger.share(claim, f"{self.version}") if granted.twin and claim.stage is Stage.EMBED else None
            )
            if shared in (None, Shared.COMPUTE):
                self.held.append((claim, self.version))

    @rule(which=which)
    def finish(self, which: int) -> None:
        if self.held:
            claim, version = self.held.pop(which % len(self.held))
            if claim.stage is Stage.EMBED:
                fields = f"{self.jobs[claim.job_id][0]} {version}".encode()
                self.ledger.finish(claim, StageResult("", {Payload.FIELDS: fields}, digest=f"{version}"))
                return
            with suppress(PayloadMissing):  # the job has ended
                fields = self.ledger.payload(claim.job_id, Payload.FIELDS)
                self.ledger.finish(claim, StageResult("", {Payload.LABELS: fields, Payload.OBJECTS: fields}))

    @rule(which=which, how=st.sampled_from(["fail", "release", "return", "die"]))
    def fail(self, which: int, how: str) -> None:
        if self.held:
            claim, _ = self.held.pop(which % len(self.held))
            if how == "fail":
                self.ledger.fail(claim, Failure(type="NotAnImage", message=""))
            elif how == "release":
                self.ledger.release(claim, "MemoryError")
            elif how == "return":
                self.ledger.return_to_queue(claim)
            elif self.redis.zscore("maskq:leases", claim.job_id):
                self.redis.zadd("maskq:leases", {claim.job_id: 1})
                list(self.ledger.reclaim_lost())

    @rule(which=which)
    def cancel(self, which: int) -> None:
        if self.jobs:
            self.ledger.cancel(f"job{which % len(self.jobs)}")

    @rule(which=which)
    def requeue_or_delete(self, which: int) -> None:
        if self.jobs:
            job_id = f"job{which % len(self.jobs)}"
            if not self.ledger.requeue(job_id) and which % 7 == 0 and self.ledger.delete(job_id):
                self.ledger.create(job_id, JobSpec(), None, b"image", Identity(self.jobs[job_id][0]))
                self.jobs[job_id] = self.jobs[job_id][0], self.version

    @rule()
    def look_after_followers(self) -> None:
        for job_id in self._followers():
            self.redis.zadd("maskq:following", {job_id: 1})
        list(self.ledger.wake_followers())

    @invariant()
    def a_follower_waits_for_a_leader(self) -> None:
        for job_id in self._followers():
            if self.ledger.state(job_id) is State.QUEUED:
                leader = self.redis.get(f"maskq:same:{self.jobs[job_id][0]}")
                assert leader and not self.ledger.state(text(leader)).ended, f"{job_id} waits for nothing"

    def _followers(self) -> list[str]:
        return [text(job_id) for job_id in self.redis.zrange("maskq:following", 0, -1)]

    def teardown(self) -> None:
        while self.held or self._take_a_message():
            self.finish(0)
        for job_id, (image, version) in self.jobs.items():
            assert self.ledger.state(job_id).ended, f"{job_id} was forgotten"
            if self.ledger.state(job_id) is State.DONE:
                found, by = text(self.ledger.payload(job_id, Payload.LABELS)).split()
                assert found == image and int(by) >= version


def test_random_transitions_lose_no_job_and_mix_up_no_result(redis: Redis) -> None:
    SharingMachine.redis = redis
    limits = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(SharingMachine, settings=limits)
