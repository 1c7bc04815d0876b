"""The reconciler: jobs that no message will wake are sent one, and no others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kombu.exceptions import OperationalError
from redis import Redis

from producer.broker import Sender, queue_length
from producer.contract import JobSpec, JobStatus, Stage
from producer.ledger import Ledger
from tasks.reconcile import Reconciler
from tests.conftest import until


@pytest.fixture
def sender(redis_url: str) -> Iterator[Sender]:
    made = Sender(redis_url, 77)
    yield made
    made.close()


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, retention_s=100, max_queued=10, lease_s=1e-6, max_attempts=3)


def test_a_job_whose_message_was_lost_is_sent_one_and_not_another_at_once(
    redis: Redis, ledger: Ledger, sender: Sender
) -> None:
    ledger.create("job", JobSpec(), "fixed")
    assert Reconciler(redis, ledger, sender, resend_s=1000).look() == 0
    now = Reconciler(redis, ledger, sender, resend_s=0)
    assert now.look() == 1
    assert queue_length(redis, "embed.fixed") == 1
    assert now.look() == 0


def test_a_job_whose_worker_is_silent_is_sent_to_another(redis: Redis, ledger: Ledger, sender: Sender) -> None:
    reconciler = Reconciler(redis, ledger, sender, resend_s=1000)
    ledger.create("job", JobSpec(), "varied")
    ledger.claim("job", Stage.EMBED, "one")
    assert reconciler.look() == 1
    assert queue_length(redis, "embed.varied") == 1
    ledger.claim("job", Stage.EMBED, "two")
    ledger.finish("job", Stage.EMBED, "two")
    ledger.claim("job", Stage.CLUSTER, "three")
    assert reconciler.look() == 1
    assert queue_length(redis, "cluster") == 1


def test_a_long_queue_does_not_hide_what_another_queue_has_lost(redis: Redis, ledger: Ledger, sender: Sender) -> None:
    for name in ("waits", "lost"):
        ledger.create(name, JobSpec(), "varied")
    sender.send(Stage.EMBED, ledger.status("waits"))
    ledger.claim("lost", Stage.EMBED, "one")
    ledger.finish("lost", Stage.EMBED, "one")
    assert Reconciler(redis, ledger, sender, resend_s=0).look() == 1
    assert queue_length(redis, "embed.varied") == 1
    assert queue_length(redis, "cluster") == 1


def test_it_outlives_a_broker_that_is_away(redis: Redis) -> None:
    class Broken(Sender):
        tries = 0

        def send(self, stage: Stage, job: JobStatus) -> None:
            self.tries += 1
            raise OperationalError("Connection refused")

    broken = Broken("redis://127.0.0.1:1", 77)
    ledger = Ledger(redis, retention_s=100, max_queued=10, lease_s=1, max_attempts=3)
    ledger.create("job", JobSpec(), "varied")
    reconciler = Reconciler(redis, ledger, broken, resend_s=0.02)
    reconciler.start()
    until(lambda: broken.tries >= 3)
    reconciler.stop()
