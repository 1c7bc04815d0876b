"""The yardstick of `machinery`: a chain of two empty Celery tasks, on a thread worker and a prefork worker.

`python -m benchmarks.celery_chain POOL CONCURRENCY QUEUE` runs a worker on the broker of MASKQ_BROKER_URL. Celery has
its default configuration, with results ignored: no events, none of maskq's settings.
"""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery, chain
from redis import Redis

from maskq.producer.settings import Settings

FIRST, SECOND = "chain.first", "chain.second"
_DONE = "chain:done"


def make_app(broker_url: str) -> Celery:
    """Build an app with the two empty tasks; the second increments a counter, so that a sender can wait."""
    app = Celery("chain", broker=broker_url, set_as_current=False)
    app.conf.task_ignore_result = True
    redis = Redis.from_url(broker_url)

    def first() -> None:
        """Nothing."""

    def second() -> None:
        redis.incr(_DONE)

    app.task(name=FIRST)(first)
    app.task(name=SECOND)(second)
    return app


def run_chains(app: Celery, redis: Redis, count: int, in_flight: int) -> None:
    """Send `count` chains, at most `in_flight` of them unfinished, and wait for all."""
    redis.set(_DONE, 0)
    done = 0
    for sent in range(count):
        while sent - done >= in_flight:
            done = _done(redis)
        tasks = (app.signature(name, immutable=True, queue=name) for name in (FIRST, SECOND))
        chain(*tasks, app=app).apply_async()
    while _done(redis) < count:
        pass


def _done(redis: Redis) -> int:
    value: Any = redis.get(_DONE)
    return int(value or 0)


def main(pool: str, concurrency: str, queue: str) -> None:
    """Serve one of the two queues until SIGTERM."""
    app = make_app(Settings().broker_url or "")
    app.Worker(hostname=f"chain-{pool}@here", pool=pool, concurrency=int(concurrency), queues=[queue]).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
