"""Waiting for a job to end: by a subscription to its channel, and by reading its record from time to time.

`wait_steps` decides what to do when; the waiter below does it with blocking calls, and the gateway with asyncio.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any, Self

from ...errors import BrokerUnavailable
from ...schema import JobStatus, State
from ..keys import job_key
from ..store import Payload
from .records import Records, read_status

log = logging.getLogger(__name__)

#: A published message can be missed during a reconnect: so the record is read at least this often (seconds).
LOOK_AGAIN_S = 2.0
#: The longest wait for one answer of Redis, a confirmed subscription included (seconds).
ANSWER_S = 5.0
#: The pause before another attempt while the broker is away (seconds).
RETRY_S = 0.25
#: How often a waiter that may not subscribe reads the record (seconds).
_POLL_S = 0.25


def wait_steps(timeout_s: float | None) -> Generator[float | None, bool, None]:
    """The steps of one wait: None means "read the record now", a number "listen for a message for that many seconds".

    After a listening step, send whether a message came. The first step and the last one read the record; the steps end
    with the timeout (None: never). The subscription has to be confirmed before the first step: else a job that ends in
    between is missed.
    """
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while True:
        yield None
        look_at = min(time.monotonic() + LOOK_AGAIN_S, deadline)
        while (remaining := look_at - time.monotonic()) > 0:
            if (yield remaining):
                break
        if time.monotonic() >= deadline:
            yield None
            return


class Waiting(Records):
    """Waits of clients."""

    def __init__(self, *arguments: Any, **config: Any) -> None:
        super().__init__(*arguments, **config)
        self._of_thread = threading.local()

    def wait(self, job_id: str, timeout: float | None) -> JobStatus:
        """The job once it has ended, or as it is after `timeout` seconds (None: wait for ever).

        Keeps waiting while the broker is away. Raises `UnknownJob`, and `BrokerUnavailable` if the broker is still
        away at the timeout.
        """
        return self.wait_with(job_id, timeout, ())[0]

    def wait_with(
        self, job_id: str, timeout: float | None, reads: Sequence[Payload], *, looked: bool = False
    ) -> tuple[JobStatus, Mapping[Payload, bytes]]:
        """As `wait`, with those of the payloads that came in the same round trip. The others have to be fetched.

        If the caller has just `looked`, and the job had not ended, it is not read before the subscription.
        """
        from redis.exceptions import ConnectionError, TimeoutError

        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return self._no_retry._wait(job_id, deadline - time.monotonic(), reads, looked)
            except (ConnectionError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(f"waited for job {job_id}; the broker does not answer: {error}") from error
                time.sleep(RETRY_S)

    def close(self) -> None:
        """Close the ledger's own connections."""
        if "_no_retry" in vars(self):
            self._no_retry._redis.connection_pool.disconnect()

    @cached_property
    def _no_retry(self) -> Self:
        """The same ledger over connections without redis-py's retries: this module retries itself."""
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return self.with_timeout(ANSWER_S, retry=Retry(NoBackoff(), 0))

    def _wait(
        self, job_id: str, timeout: float, reads: Sequence[Payload], looked: bool
    ) -> tuple[JobStatus, Mapping[Payload, bytes]]:
        if not looked and (outcome := self._fetch(job_id, reads))[0].state.ended:
            return outcome
        with self._listening(job_id) as listen:
            steps = wait_steps(timeout)
            step = next(steps)
            while True:
                try:
                    if step is None:
                        outcome = self._fetch(job_id, reads)
                        if outcome[0].state.ended:
                            return outcome
                        step = next(steps)
                    else:
                        step = steps.send(listen(step))
                except StopIteration:
                    return outcome

    def _fetch(self, job_id: str, reads: Sequence[Payload]) -> tuple[JobStatus, Mapping[Payload, bytes]]:
        """The job's record and payloads in one round trip, if the payloads are in this Redis."""
        if not (reads and self._redis_store):
            return self.status(job_id), {}
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(job_key(job_id))
            pipe.execute_command(*self._redis_store.get_all_command(job_id, reads))  # type: ignore[no-untyped-call]
            record, payloads = pipe.execute(raise_on_error=False)
        if isinstance(record, Exception):
            raise record
        found = () if isinstance(payloads, Exception) else payloads
        return read_status(job_id, record), {k: data for k, data in zip(reads, found, strict=False) if data is not None}

    @contextmanager
    def _listening(self, job_id: str) -> Iterator[Callable[[float], bool]]:
        """Listens to the states that the job enters from now on: for some seconds, and says whether it has ended.

        A Redis user who may not subscribe looks at the record from time to time instead.
        """
        from redis.exceptions import NoPermissionError

        try:
            pubsub = self._subscribe(job_id)
        except NoPermissionError as error:
            say_polling(str(error))
            yield _pause
            return
        try:
            yield lambda seconds: says_ended(pubsub.get_message(timeout=seconds))
            pubsub.unsubscribe()
        except BaseException:
            self._forget(pubsub)
            raise

    def _subscribe(self, job_id: str) -> Any:
        """A confirmed subscription. Each thread keeps a connection: opening one takes longer than many a job."""
        local = self._of_thread
        if getattr(local, "pid", None) != os.getpid():  # a fork must not read from its parent's connection
            local.pubsub, local.pid = self._redis.pubsub(), os.getpid()  # type: ignore[no-untyped-call]
        pubsub: Any = local.pubsub
        try:
            pubsub.subscribe(job_key(job_id))
            confirm(pubsub, job_key(job_id))
        except BaseException:
            self._forget(pubsub)
            raise
        return pubsub

    def _forget(self, pubsub: Any) -> None:
        self._of_thread.pid = None
        pubsub.close()


@cache
def say_polling(refusal: str) -> None:
    """Say it once in a process."""
    log.warning("%s: so each wait looks at its job four times a second (docs/places.md has the permissions)", refusal)


def _pause(seconds: float) -> bool:
    """Instead of listening: pause for a while, and then look whether the job has ended."""
    time.sleep(min(seconds, _POLL_S))
    return True


def says_ended(message: Any) -> bool:
    return bool(message and message["type"] == "message" and State(message["data"].decode()).ended)


def confirm(pubsub: Any, channel: str) -> None:
    """Wait until Redis confirms the subscription: until then it may read commands of other connections first.

    Raises redis's `TimeoutError`.
    """
    from redis.exceptions import TimeoutError

    deadline = time.monotonic() + ANSWER_S
    while (remaining := deadline - time.monotonic()) > 0:
        message = pubsub.get_message(timeout=remaining)
        if message and message["type"] == "subscribe" and message["channel"].decode() == channel:
            return
    raise TimeoutError(f"Redis has not confirmed for {ANSWER_S:g} s that it listens to {channel}")
