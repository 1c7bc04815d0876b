"""The lanes that device processes serve: if no process serves a lane, those of the other lane take it.

Each process keeps an entry per lane in a sorted set, with the time until which it serves the lane, and renews it. Only
a process's own lanes are entered, not those it has taken: so all processes that can help do, and all of them stop when
the lane's own process is back.
"""

import logging
from collections.abc import Sequence

from celery import Celery
from redis import Redis

from maskq.producer.schema import Stage
from maskq.producer.state.keys import LANES_APART, PREFIX
from maskq.producer.state.routing import LANES, queue_of
from maskq.tasks.periodic import PeriodicThread

log = logging.getLogger(__name__)

#: An entry is valid for this many rounds.
_ROUNDS = 3
#: Entries of processes that are gone are deleted after this time, seconds.
_EXPIRE_S = 3600


class WorkerConsumer:
    """Starts and stops this process's Celery worker on a lane, by remote control, as Flower does. Idempotent.

    The methods return whether the worker confirmed.
    """

    def __init__(self, app: Celery, hostname: str) -> None:
        self._app, self._hostname = app, hostname

    def add(self, lane: str) -> bool:
        """Start to take the lane's jobs."""
        return self._send("add_consumer", lane)

    def cancel(self, lane: str) -> bool:
        """Stop taking the lane's jobs."""
        return self._send("cancel_consumer", lane)

    def _send(self, command: str, lane: str) -> bool:
        arguments = {"queue": queue_of(Stage.EMBED, lane)}
        replies = self._app.control.broadcast(
            command, arguments=arguments, destination=[self._hostname], reply=True, timeout=1.0
        )
        return any("ok" in reply.get(self._hostname, ()) for reply in replies or ())


class LaneFailover(PeriodicThread):
    """Enters the lanes that a process serves, and makes the process serve lanes without an entry.

    Checks every `unserved_s / 3` seconds from `start` to `stop`.
    """

    def __init__(
        self, redis: Redis, node: str, lanes: Sequence[str], consumer: WorkerConsumer, unserved_s: float
    ) -> None:
        """`lanes` are the process's own; a lane that had no entry for `unserved_s` seconds is taken."""
        super().__init__(unserved_s / _ROUNDS, self.check, "lanes")
        self._redis, self._node, self._lanes, self._consumer = redis, node, tuple(lanes), consumer
        self._unserved_s = unserved_s
        self._began: float | None = None
        self._taken: set[str] = set()

    @property
    def served(self) -> tuple[str, ...]:
        """The lanes that the process serves now."""
        return tuple(lane for lane in LANES if lane in self._lanes or lane in self._taken)

    def stop(self) -> None:
        """Stop checking, and remove this process's entries."""
        super().stop()
        try:
            for lane in self._lanes:
                self._redis.zrem(_key(lane), self._node)
        except Exception as error:  # then the entries expire by themselves
            log.debug("lanes: %s", error)

    def check(self) -> None:
        """Run one round: renew the entries, take lanes without an entry, give back taken lanes that have one again."""
        seconds, micros = self._redis.time()
        now = seconds + micros / 1e6
        self._began = now if self._began is None else self._began
        for lane in self._lanes:
            self._renew(lane, now)
        for lane in LANES:
            if lane in self._lanes:
                continue
            latest = self._redis.zrange(_key(lane), -1, -1, withscores=True)
            until = max(float(latest[0][1]) if latest else 0.0, self._began + self._unserved_s)
            if until < now and lane not in self._taken and self._consumer.add(lane):
                log.warning("no one serves embed.%s; taken", lane)
                self._taken.add(lane)
            elif until >= now and lane in self._taken and self._consumer.cancel(lane):
                log.warning("embed.%s is served again; given back", lane)
                self._taken.remove(lane)

    def _renew(self, lane: str, now: float) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.zadd(_key(lane), {self._node: now + self._unserved_s})
        pipe.zremrangebyscore(_key(lane), "-inf", now - _EXPIRE_S)  # hosts that never come back
        pipe.expire(_key(lane), _EXPIRE_S)
        if len(self._lanes) == 1:
            pipe.set(LANES_APART, self._node, ex=_EXPIRE_S)
        pipe.execute()


def _key(lane: str) -> str:
    return f"{PREFIX}lane:{lane}"
