"""The reconciler: jobs that no message will wake are sent one, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from maskq.producer.errors import PayloadMissing
from maskq.producer.schema import JobSpec, Limits, Stage, State
from maskq.producer.state.ledger import Claim, Ledger
from maskq.producer.state.routing import message_lists, queue_length
from maskq.producer.state.store import FsspecStore, Payload
from maskq.tasks.reconciler import Reconciler
from tests.conftest import until


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, retention_s=100, max_queued=10, lease_s=1e-6, max_attempts=3)


def test_a_job_whose_message_was_lost_is_sent_one_and_not_another_at_once(redis: Redis, ledger: Ledger) -> None:
    ledger.create("job", JobSpec(), None)
    redis.delete(*message_lists())
    assert Reconciler(redis, ledger, resend_s=1000).run_round() == 0
    now = Reconciler(redis, ledger, resend_s=0)
    assert now.run_round() == 1
    assert queue_length(redis, "embed.varied") == 1
    assert now.run_round() == 0


def test_a_job_whose_worker_is_silent_is_sent_to_another(redis: Redis, ledger: Ledger) -> None:
    reconciler = Reconciler(redis, ledger, resend_s=1000)
    ledger.create("job", JobSpec(), None)
    ledger.claim(Claim("job", Stage.EMBED, "one"))
    redis.delete(*message_lists())
    assert reconciler.run_round() == 1
    assert queue_length(redis, "embed.varied") == 1
    ledger.claim(Claim("job", Stage.EMBED, "two"))
    ledger.finish(Claim("job", Stage.EMBED, "two"))
    ledger.claim(Claim("job", Stage.CLUSTER, "three"))
    redis.delete(*message_lists())
    assert reconciler.run_round() == 1
    assert queue_length(redis, "cluster") == 1


def test_a_job_that_waits_in_a_long_queue_is_not_lost_and_one_that_others_overtook_is(
    redis: Redis, ledger: Ledger
) -> None:
    for number in range(8):
        ledger.create(f"job{number}", JobSpec(), None)
    reconciler = Reconciler(redis, ledger, resend_s=0)
    assert reconciler.run_round() == 0
    (queue,) = [name for name in message_lists() if redis.llen(name)]
    redis.rpop(queue, 2)  # two workers took what was oldest, and died
    assert reconciler.run_round() == 2
    assert redis.llen(queue) == 8
    assert reconciler.run_round() == 0


def test_what_others_put_on_the_queue_loses_no_job(redis: Redis, ledger: Ledger) -> None:
    ledger.create("job", JobSpec(), None)
    (queue,) = [name for name in message_lists() if redis.llen(name)]
    for strange in (b"no JSON", b"[]", b"{}", b'{"headers": {}}', b'{"headers": {"sent": "soon"}}'):
        redis.rpush(queue, strange)
        assert Reconciler(redis, ledger, resend_s=0).run_round() == 0
        redis.rpop(queue)


def test_it_outlives_a_broker_that_is_away(redis: Redis) -> None:
    class BrokenModel(Ledger):
        tries = 0

        def resend_lost(self, older_s: float) -> Iterator[str]:
            self.tries += 1
            raise ConnectionError("refused")

    ledger = BrokenModel(redis, retention_s=100, max_queued=10, lease_s=1, max_attempts=3)
    reconciler = Reconciler(redis, ledger, resend_s=0.02)
    reconciler.start()
    until(lambda: ledger.tries >= 3)
    reconciler.stop()


def test_what_was_kept_for_its_time_is_forgotten_and_its_files_go(redis: Redis, tmp_path: Path) -> None:
    store = FsspecStore(f"file://{tmp_path}")
    ledger = Ledger(redis, store, retention_s=1)
    for job_id in ("ended", "waits"):
        store.put(job_id, Payload.IMAGE, b"x")
        ledger.create(job_id, JobSpec(), None)
    ledger.cancel("ended")
    reconciler = Reconciler(redis, ledger, resend_s=1000)
    assert until(reconciler.sweep) == 1
    with pytest.raises(PayloadMissing):
        store.get("ended", Payload.IMAGE)
    assert store.get("waits", Payload.IMAGE) == b"x"


def test_a_damaged_record_keeps_no_other_job_from_being_forgotten(redis: Redis, tmp_path: Path) -> None:
    ledger = Ledger(redis, FsspecStore(f"file://{tmp_path}"), retention_s=1)
    for job_id in ("damaged", "sound"):
        ledger.create(job_id, JobSpec(), None, b"x")
        ledger.cancel(job_id)
    redis.delete("maskq:job:damaged")
    redis.set("maskq:job:damaged", "no hash")
    until(lambda: len(ledger.past_retention()) == 2)
    assert Reconciler(redis, ledger, resend_s=1000).sweep() == 1
    assert not ledger.exists("sound") and ledger.exists("damaged")


def test_what_failed_is_tried_again_when_its_delay_is_over_and_what_is_overdue_ends(redis: Redis) -> None:
    ledger = Ledger(redis)
    reconciler = Reconciler(redis, ledger, resend_s=1000)
    ledger.create("fails", JobSpec(), None)
    ledger.create("late", JobSpec(limits=Limits(expires_s=0.01)), None)
    ledger.claim(Claim("fails", Stage.EMBED, "one"))
    ledger.release(Claim("fails", Stage.EMBED, "one"), "ConnectionError", delay_s=0.2)
    redis.delete(*message_lists())
    assert until(reconciler.run_round) == 1
    assert queue_length(redis, "embed.varied") == 1
    assert ledger.status("late").state is State.EXPIRED


def test_a_damaged_job_holds_up_no_other(redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    for job_id in ("damaged", "sound"):
        ledger.create(job_id, JobSpec(), None)
        ledger.claim(Claim(job_id, Stage.EMBED, "one"))
    redis.hset("maskq:job:damaged", "history", "no JSON")
    assert Reconciler(redis, ledger, resend_s=1000).run_round() == 1
    assert ledger.state("sound") is State.QUEUED
    assert len([record for record in caplog.records if record.exc_info]) == 1
