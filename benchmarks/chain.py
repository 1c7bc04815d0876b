"""The yardstick of `machinery`: two empty Celery tasks, one after the other, on a thread worker and a prefork worker.

Run as `python -m benchmarks.chain POOL QUEUE` with MASKQ_BROKER_URL set. What it measures is Celery itself on the same
Redis, with the same acknowledgement, prefetching and events as maskq's workers.
"""

from __future__ import annotations

import sys

from celery import Celery, chain
from redis import Redis

from producer.settings import Settings
from tasks.app import create_app
from workers.node import start

FIRST, SECOND = "chain.first", "chain.second"
_DONE = "chain:done"


def make_app(settings: Settings) -> Celery:
    """An app with the two empty tasks; the second counts what is done, so that a sender can wait for it."""
    app = create_app(settings)
    redis = Redis.from_url(settings.broker_url or "")

    def first() -> None:
        """Nothing."""

    def second() -> None:
        redis.incr(_DONE)

    app.task(name=FIRST)(first)
    app.task(name=SECOND)(second)
    return app


def turn(app: Celery, redis: Redis, count: int, in_flight: int) -> None:
    """Send `count` chains, at most `in_flight` of them unfinished, and wait for the last."""
    redis.set(_DONE, 0)
    done = 0
    for sent in range(count):
        while sent - done >= in_flight:
            done = int(redis.get(_DONE) or 0)
        chain(
            app.signature(FIRST, immutable=True, queue=FIRST), app.signature(SECOND, immutable=True, queue=SECOND)
        ).apply_async()
    while int(redis.get(_DONE) or 0) < count:
        pass


def main(pool: str, concurrency: str, queue: str) -> None:
    """Serve one of the two queues until told to stop."""
    settings = Settings()
    start(make_app(settings), settings, node=f"chain-{pool}", pool=pool, concurrency=int(concurrency), queues=(queue,))


if __name__ == "__main__":
    main(*sys.argv[1:])
