"""The lanes that device processes serve: a lane that no one serves is taken by those of the other lane.

Each process notes in a sorted set per lane until when it serves it, and goes on noting that. Only what a process was
started for is noted, not what it has taken beyond that: so all who can help do, and all stop when someone is back.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from celery import Celery
from redis import Redis

from maskq.producer.schema import Stage
from maskq.producer.state.keys import PREFIX
from maskq.producer.state.routing import LANES, queue_of
from maskq.tasks.periodic import PeriodicThread

log = logging.getLogger(__name__)

#: Until when a process is noted after it was last heard, in rounds.
_ROUNDS = 3
#: Seconds that the notes of those who are gone are kept.
_KEPT_S = 3600


class Consumer(Protocol):
    """Who takes messages from queues."""

    def add(self, lane: str) -> bool:
        """Take the lane's jobs from now on; whether that was understood. May be said again."""
        ...

    def cancel(self, lane: str) -> bool:
        """Take them no more; whether that was understood. May be said again."""
        ...


class WorkerConsumer:
    """This process's Celery worker, told by remote control, as Flower would tell it."""

    def __init__(self, app: Celery, hostname: str) -> None:
        self._app, self._hostname = app, hostname

    def add(self, lane: str) -> bool:
        """Take the lane's jobs from now on."""
        return self._tell("add_consumer", lane)

    def cancel(self, lane: str) -> bool:
        """Take them no more."""
        return self._tell("cancel_consumer", lane)

    def _tell(self, command: str, lane: str) -> bool:
        arguments = {"queue": queue_of(Stage.EMBED, lane)}
        answers = self._app.control.broadcast(
            command, arguments=arguments, destination=[self._hostname], reply=True, timeout=1.0
        )
        return any("ok" in answer.get(self._hostname, ()) for answer in answers or ())


class LaneFailover:
    """Notes which lanes a process serves, and has it serve those that no one does. A thread of its own looks."""

    def __init__(self, redis: Redis, node: str, own: Sequence[str], consumer: Consumer, unserved_s: float) -> None:
        """A lane that no one has served for `unserved_s` seconds is taken."""
        self._redis, self._node, self._own, self._consumer = redis, node, tuple(own), consumer
        self._unserved_s = unserved_s
        self._began: float | None = None
        self._taken: set[str] = set()
        self._every = PeriodicThread(unserved_s / _ROUNDS, self.look, "lanes")

    @property
    def served(self) -> tuple[str, ...]:
        """The lanes that the process serves now."""
        return tuple(lane for lane in LANES if lane in self._own or lane in self._taken)

    def start(self) -> None:
        """Look from now on."""
        self._every.start()

    def stop(self) -> None:
        """Look no more, and let the others know that this process is going."""
        self._every.stop()
        try:
            for lane in self._own:
                self._redis.zrem(_key(lane), self._node)
        except Exception as error:  # then the note runs out by itself
            log.debug("lanes: %s", error)

    def look(self) -> None:
        """One round: note what is served, take what no one serves, give back what someone does."""
        seconds, micros = self._redis.time()
        now = seconds + micros / 1e6
        self._began = now if self._began is None else self._began
        for lane in self._own:
            self._note(lane, now)
        for lane in LANES:
            if lane in self._own:
                continue
            until = max(self._last(lane), self._began + self._unserved_s)
            if until < now and lane not in self._taken and self._consumer.add(lane):
                log.warning("no one serves embed.%s; taken", lane)
                self._taken.add(lane)
            elif until >= now and lane in self._taken and self._consumer.cancel(lane):
                log.warning("embed.%s is served again; given back", lane)
                self._taken.remove(lane)

    def _note(self, lane: str, now: float) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.zadd(_key(lane), {self._node: now + self._unserved_s})
        pipe.zremrangebyscore(_key(lane), "-inf", now - _KEPT_S)  # hosts that are gone for good
        pipe.expire(_key(lane), _KEPT_S)
        pipe.execute()

    def _last(self, lane: str) -> float:
        """Until when someone serves the lane, or did."""
        noted = self._redis.zrange(_key(lane), -1, -1, withscores=True)
        return float(noted[0][1]) if noted else 0.0


def _key(lane: str) -> str:
    return f"{PREFIX}lane:{lane}"
