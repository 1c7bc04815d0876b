"""The ledger: each job's state in a Redis hash, moved by atomic transitions. It is the truth; messages only wake.

A worker *claims* a stage and holds it by a lease that it renews; finishing, failing or releasing it asks for the same
owner. So a second delivery of a message finds the stage claimed or finished and is dropped, and a job whose worker
died comes back when the lease runs out. The transitions are in `transitions.lua`; one that leaves a job waiting puts it
in line for its queue as well (`queues.lua`), so that no crash comes between the two.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from ...errors import BrokerUnavailable, QueueFull, UnknownJob
from ...schema import Attempt, Failure, JobSpec, JobStatus, Stage, State
from ..keys import EVENTS, PREFIX, Command
from ..routing import CLUSTER_QUEUE, EMBED_QUEUES, broker_priority

if TYPE_CHECKING:
    from redis import Redis

ACTIVE, LEASES, DEAD, CANCELLED = (f"{PREFIX}{name}" for name in ("active", "leases", "dead", "cancelled"))
_DELAYED, _EXPIRING, _KEPT, _BYTES = (f"{PREFIX}{name}" for name in ("delayed", "expiring", "kept", "bytes"))
#: A published message can be missed while a connection is made anew; then the state is looked at this often, seconds.
_LOOK_AGAIN = 1.0
#: How long `wait` waits for one answer, seconds.
_ANSWER_S = 5.0
#: Jobs that one round of a sweep takes up at most.
_AT_ONCE = 1000


@dataclass(frozen=True)
class Rules:
    """What the ledger goes by; the settings of the same names say what each means."""

    retention_s: int = 86_400
    dead_retention_s: int = 604_800
    max_queued: int = 100_000
    max_queued_bytes: int = 1 << 40
    max_client_queued: int = 100_000
    max_attempts: int = 3
    lease_s: float = 8.0
    age_s: float = 60.0
    window: int = 16
    task_events: bool = True


class Ledger:
    """The jobs of one broker. Threads and forks may share it."""

    def __init__(self, redis: Redis, **rules: Any) -> None:
        """`rules` are those of `Rules`."""
        self._redis, self.rules = redis, Rules(**rules)
        self._of_thread = threading.local()
        events = EVENTS.format(redis.connection_pool.connection_kwargs.get("db", 0))
        self._settings = json.dumps(asdict(self.rules) | {"events": events if self.rules.task_events else None})
        here = files(__package__)
        self._script = redis.register_script(
            "\n".join(here.joinpath(name).read_text() for name in ("queues.lua", "transitions.lua"))
        )

    def impatient(self, answer_s: float, **how: Any) -> Ledger:
        """The same, over connections of its own, which wait so many seconds for an answer at most: for what must not
        wait behind a connection that went silent as long as for a large image on a slow line. `how`: what else of
        redis's connections is to be otherwise.
        """
        from redis import ConnectionPool, Redis

        pool = self._redis.connection_pool
        how |= {"socket_timeout": answer_s, "socket_connect_timeout": answer_s}
        quick = ConnectionPool(
            connection_class=pool.connection_class,
            max_connections=pool.max_connections,
            **(pool.connection_kwargs | how),
        )
        return Ledger(Redis(connection_pool=quick), **asdict(self.rules))

    @cached_property
    def _once(self) -> Ledger:
        """For who asks again by themselves, and has to know soon that there is no answer."""
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return self.impatient(_ANSWER_S, retry=Retry(NoBackoff(), 0))

    def close(self) -> None:
        """Let go of the connections that are its own."""
        if "_once" in vars(self):
            self._once._redis.close()

    @property
    def lease_s(self) -> float:
        """Seconds that a claim lasts, unless it is renewed."""
        return self.rules.lease_s

    def _ask(self, transition: str, job_id: str, *arguments: str | float) -> Any:
        return self._script(keys=[PREFIX, _key(job_id)], args=[transition, job_id, self._settings, *arguments])

    def _ask_with(
        self, commands: Sequence[Command], all_or_nothing: bool, transition: str, job_id: str, *arguments: str | float
    ) -> list[Any]:
        """The answers to commands, which may be errors, and the transition's, in one round trip."""
        from redis.exceptions import NoScriptError

        keys, told = (PREFIX, _key(job_id)), (transition, job_id, self._settings, *arguments)
        with self._redis.pipeline(transaction=all_or_nothing) as together:
            # To say what failed it would write out a whole image, a third of a second a megabyte, while others wait.
            together.annotate_exception = lambda *_: None  # type: ignore[method-assign]
            for command in commands:
                together.execute_command(*command)  # type: ignore[no-untyped-call]
            together.evalsha(self._script.sha, len(keys), *keys, *cast(Any, told))
            answers = together.execute(raise_on_error=False)
        if isinstance(answers[-1], NoScriptError):  # a Redis that has restarted; the commands may be done twice
            answers[-1] = self._ask(transition, job_id, *arguments)
        if isinstance(answers[-1], Exception):
            raise answers[-1]
        return answers

    def _move(self, transition: str, job_id: str, *arguments: str | float) -> str:
        return cast(bytes, self._ask(transition, job_id, *arguments)).decode()

    def create(
        self,
        job_id: str,
        spec: JobSpec,
        shape: str | None,
        *,
        bytes_: int = 0,
        same: str | None = None,
        key: str | None = None,
        first: Command | None = None,
    ) -> str:
        """Enter a new job as queued; returns its id, or that of the job that it would only repeat.

        `shape` is the image's, as far as it is known (see `lanes`), and `bytes_` its size. `same` names what the job
        computes, and `key` is the caller's own name for it: another job of either that has not failed, and of the same
        key however it ended, stands for this one. What Redis is told `first` goes with it, in one round trip: what
        Redis says where it can't do that is raised, and nothing is done then. Raises `QueueFull`.
        """
        new = {
            "spec": spec.model_dump_json(),
            "said": f"({job_id[:8]}, {spec.model}, {spec.name})",
            "priority": broker_priority(spec.priority),
            "shape": shape or "",
            "client": spec.client,
            "bytes": bytes_,
            "expires_s": spec.limits.expires_s,
            "same": f"{PREFIX}same:{same}" if same else "",
            "key": f"{PREFIX}key:{spec.client}:{key}" if key else "",
        }
        told = json.dumps(new)
        if first:
            *_, answer = self._ask_with([first], True, "create", job_id, told)
        else:
            answer = self._ask("create", job_id, told)
        if answer[0] == b"full":
            raise self._full(answer[1].decode(), int(answer[2]))
        return cast(bytes, answer[1]).decode() if answer[0] == b"same" else job_id

    def _full(self, of: str, count: int) -> QueueFull:
        """Which bound was met, how far the queue is from it, and when to come again."""
        unfinished, rate = self.unfinished(), self.rate()
        said = {
            "jobs": f"{count:,} jobs are unfinished, as many as may be",
            "bytes": f"the images of unfinished jobs take {count:,} of {self.rules.max_queued_bytes:,} bytes",
            "client": f"{count:,} jobs of this client are unfinished, as many as may be",
            "same": f"{count:,} submissions of this very job wait for it, as many as may be",
        }[of]
        wait_s = max(1.0, min(60.0, unfinished / rate / 10)) if rate else 10.0
        return QueueFull(f"{said}; {unfinished:,} jobs in all, {rate:.1f} a second end; try again later", wait_s)

    def claim(self, job_id: str, stage: Stage, owner: str, worker: str = "") -> JobStatus | str:
        """Take the stage for `owner`: the job, or the state (or `unknown`) for which it can't be had."""
        return _granted(job_id, self._ask("claim", job_id, stage, owner, worker))

    def renew(self, job_id: str, owner: str) -> bool:
        """Hold on to a claimed stage; False where it is no longer the owner's."""
        return self._move("renew", job_id, owner) == "ok"

    def pause(self, job_id: str, owner: str, waits: bool) -> None:
        """Note that a claimed job only waits for its turn in its worker: if that dies, it was not this job's doing."""
        self._move("pause", job_id, owner, "1" if waits else "")

    def claim_and(
        self, reading: Command, job_id: str, stage: Stage, owner: str, worker: str
    ) -> tuple[JobStatus | str, bytes | None]:
        """As `claim`, with the answer to a command; None where that is none, or an error."""
        read, answer = self._ask_with([reading], False, "claim", job_id, stage, owner, worker)
        return _granted(job_id, answer), read if isinstance(read, bytes) else None

    def finish(self, job_id: str, stage: Stage, owner: str, aside: Mapping[str, Command] | None = None) -> bool:
        """Move on to the state after the stage; False where it is no longer the owner's.

        With the commands that put payloads `aside`, by kind, these become the job's where the stage is the owner's, and
        are dropped where it is not. Raises what Redis says where it can't do one of them: then nothing is done.
        """
        if not aside:  # which a Redis that is full takes: see `transitions.lua`
            return self._move("finish", job_id, owner, stage.finished) == "ok"
        *_, answer = self._ask_with(list(aside.values()), True, "finish", job_id, owner, stage.finished, *aside)
        return cast(bytes, answer) == b"ok"

    def fail(self, job_id: str, owner: str, failure: Failure) -> bool:
        """End the job as failed; False where it is no longer the owner's."""
        return self._move("fail", job_id, owner, failure.type, failure.message) == "ok"

    def release(self, job_id: str, owner: str, why: str, delay_s: float = 0.0, suspect: bool = False) -> bool:
        """Give the stage up, for another attempt after `delay_s` seconds; False where it is no longer the owner's.

        A `suspect` may be what broke the worker.
        """
        return self._move("release", job_id, owner, why, delay_s, "1" if suspect else "") == "ok"

    def hand_back(self, job_id: str, owner: str, delay_s: float = 0.0) -> bool:
        """Give the stage up as if it had not been begun, to be begun in `delay_s` seconds; False where it is no longer
        the owner's.
        """
        return self._move("hand_back", job_id, owner, delay_s) == "ok"

    def cancel(self, job_id: str, call: str | None = None) -> State:
        """End the job as cancelled unless it has ended or another submission stands on it; returns the state it then
        has. A `call` of the same name counts once. Raises `UnknownJob`.
        """
        answer = self._move("cancel", job_id, call or uuid.uuid4().hex)
        if answer == "unknown":
            raise _unknown(job_id)
        return State.CANCELLED if answer == "ok" else State(answer)

    def requeue(self, job_id: str) -> bool:
        """Try a dead letter once more, from the stage it died in; False where it is none."""
        return self._move("requeue", job_id) == "ok"

    def forget(self, job_id: str) -> bool:
        """Drop what is known of an ended job; False where it has not ended."""
        return self._move("forget", job_id) == "ok"

    def reclaim_lost(self) -> Iterator[str]:
        """Give back every stage whose lease has run out, and wake a worker for it; yields the jobs."""
        yield from self._due("reclaim", LEASES)

    def resume_delayed(self) -> Iterator[str]:
        """Send to the jobs whose delay after a failed attempt is over; yields them."""
        yield from self._due("resume", _DELAYED)

    def expire_overdue(self) -> Iterator[str]:
        """End the waiting jobs whose time is over; yields them."""
        yield from self._due("expire", _EXPIRING)

    def over(self) -> list[str]:
        """Ended jobs that have been kept for as long as they should be."""
        return self._up_to_now(_KEPT)

    def resend_lost(self, older_s: float) -> Iterator[str]:
        """Wake a worker for every waiting job that has no message on its queue any more; yields the jobs.

        What was sent in the last `older_s` seconds is left: it may be in the hands of a worker that is about to claim
        it. One that just waits in a long queue is never taken for lost: see `overtaken` in `transitions.lua`.
        """
        yield from self._moved("resend", self._overtaken(older_s))

    def _overtaken(self, older_s: float) -> Iterator[tuple[str, str]]:
        """The waiting jobs that have no message on their queue any more, each with the list that it is missing from."""
        for queue in (*EMBED_QUEUES, CLUSTER_QUEUE):
            self._move("admit", "", queue)
            found = cast("list[bytes]", self._ask("overtaken", "", queue, older_s))
            for job_id, waiting in zip(found[::2], found[1::2], strict=True):
                yield job_id.decode(), waiting.decode()

    def _due(self, transition: str, times: str) -> Iterator[str]:
        """The jobs whose time in a sorted set has come, once the transition has moved them."""
        yield from self._moved(transition, ((job_id,) for job_id in self._up_to_now(times)))

    def _moved(self, transition: str, jobs: Iterable[tuple[str, ...]]) -> Iterator[str]:
        """Those of the jobs (each with the transition's arguments) that are moved: one that Redis can't move holds up
        no other, and what it said of the first such is raised after the last.
        """
        from redis.exceptions import ResponseError

        failed: ResponseError | None = None
        for job_id, *arguments in jobs:
            try:
                moved = self._move(transition, job_id, *arguments) == "ok"
            except ResponseError as error:
                failed = failed or error
            else:
                if moved:
                    yield job_id
        if failed:
            raise failed

    def _up_to_now(self, times: str) -> list[str]:
        found = self._redis.zrangebyscore(times, "-inf", self.now(), start=0, num=_AT_ONCE)
        return [member.decode() for member in cast("list[bytes]", found)]

    def now(self) -> float:
        """The broker's clock, seconds since 1970."""
        seconds, micros = self._redis.time()
        return seconds + micros / 1e6

    @contextmanager
    def cancellations(self) -> Iterator[Cancellations]:
        """The jobs that are cancelled from now on."""
        with closing(self._redis.pubsub(ignore_subscribe_messages=True)) as news:  # type: ignore[no-untyped-call]
            news.subscribe(CANCELLED)
            yield Cancellations(news)

    def dead(self) -> Iterator[JobStatus]:
        """The dead letters, the oldest first."""
        for job_id in cast("list[bytes]", self._redis.zrange(DEAD, 0, -1)):
            try:
                yield self.status(job_id.decode())
            except UnknownJob:  # its retention time is over
                self._redis.zrem(DEAD, job_id)

    def knows(self, job_id: str) -> bool:
        """Whether anything is known of the job."""
        return bool(self._redis.exists(_key(job_id)))

    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return self._redis.zcard(ACTIVE)

    def rate(self) -> float:
        """Jobs that end in a second, over the last minute."""
        bucket = int(self.now() // 10)
        counts = self._redis.mget(*(f"{PREFIX}ended:{bucket - back}" for back in range(1, 7)))
        return sum(int(cast(Any, count) or 0) for count in cast("list[Any]", counts)) / 60

    def state(self, job_id: str) -> State:
        """The job's state. Raises `UnknownJob`."""
        state = cast("bytes | None", self._redis.hget(_key(job_id), "state"))
        if state is None:
            raise _unknown(job_id)
        return State(state.decode())

    def status(self, job_id: str) -> JobStatus:
        """All that is known of the job. Raises `UnknownJob`."""
        return _status(job_id, cast("dict[bytes, bytes]", self._redis.hgetall(_key(job_id))))

    def wait(self, job_id: str, timeout: float | None) -> JobStatus:
        """The job once it has ended, or as it is after `timeout` seconds. A broker that goes away is waited for.

        Raises `UnknownJob`, and `BrokerUnavailable` where it is still away after that time.
        """
        return self.wait_and(None, job_id, timeout)[0]

    def wait_and(self, reading: Command | None, job_id: str, timeout: float | None) -> tuple[JobStatus, Any]:
        """As `wait`, with the answer to a command; None where that is none, or an error."""
        from redis.exceptions import ConnectionError, TimeoutError

        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return self._once._wait(reading, job_id, deadline)
            except (ConnectionError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(f"waited for job {job_id}; the broker does not answer: {error}") from error
                time.sleep(_LOOK_AGAIN / 4)

    def _wait(self, reading: Command | None, job_id: str, deadline: float) -> tuple[JobStatus, Any]:
        found = self._look(reading, job_id)
        if found[0].state.ended:
            return found
        with self._news_of(job_id) as news:
            while not (found := self._look(reading, job_id))[0].state.ended:
                look = min(time.monotonic() + _LOOK_AGAIN, deadline)
                while (left := look - time.monotonic()) > 0:
                    message = news.get_message(timeout=left)
                    if message and message["type"] == "message" and State(message["data"].decode()).ended:
                        break
                if time.monotonic() >= deadline:
                    return self._look(reading, job_id)
        return found

    def _look(self, reading: Command | None, job_id: str) -> tuple[JobStatus, Any]:
        """The job as it is, and the answer to the command, in one round trip."""
        if reading is None:
            return self.status(job_id), None
        with self._redis.pipeline(transaction=False) as together:
            together.hgetall(_key(job_id))
            together.execute_command(*reading)  # type: ignore[no-untyped-call]
            raw, read = together.execute(raise_on_error=False)
        if isinstance(raw, Exception):
            raise raw
        return _status(job_id, raw), None if isinstance(read, Exception) else read

    @contextmanager
    def _news_of(self, job_id: str) -> Iterator[Any]:
        """The states that the job enters from now on. Each thread keeps a connection for such news: to make one takes
        longer than many a job.
        """
        if getattr(self._of_thread, "pid", None) != os.getpid():  # a fork must not read its parent's
            self._of_thread.news = self._redis.pubsub()  # type: ignore[no-untyped-call]
            self._of_thread.pid = os.getpid()
        news: Any = self._of_thread.news
        try:
            news.subscribe(channel(job_id))
            _confirm(news, channel(job_id))
            yield news
            news.unsubscribe()
        except BaseException:
            self._of_thread.pid = None
            news.close()
            raise


def _confirm(news: Any, channel: str) -> None:
    """Wait until Redis listens: it may be asked over another connection before it reads of this. Raises `TimeoutError`,
    redis's.
    """
    from redis.exceptions import TimeoutError

    deadline = time.monotonic() + _ANSWER_S
    while (left := deadline - time.monotonic()) > 0:
        message = news.get_message(timeout=left)
        if message and message["type"] == "subscribe" and message["channel"].decode() == channel:
            return
    raise TimeoutError(f"Redis has not confirmed for {_ANSWER_S:g} s that it listens to {channel}")


class Cancellations:
    """News of cancelled jobs."""

    def __init__(self, news: Any) -> None:
        self._news = news

    def wait(self, timeout_s: float) -> str | None:
        """The next one's id; None where there was none for so long."""
        message = self._news.get_message(timeout=timeout_s)
        return message["data"].decode() if message else None


def _granted(job_id: str, answer: Any) -> JobStatus | str:
    """What a claim was answered: the job's hash, or the state for which it can't be had."""
    if isinstance(answer, bytes):
        return answer.decode()
    return _status(job_id, dict(zip(answer[::2], answer[1::2], strict=True)))


def _status(job_id: str, raw: dict[bytes, bytes]) -> JobStatus:
    """The fields of a job's hash, read. Raises `UnknownJob` where there are none."""
    found = {key.decode(): value.decode() for key, value in raw.items()}
    if "state" not in found:
        raise _unknown(job_id)
    return JobStatus(
        id=job_id,
        state=State(found["state"]),
        spec=JobSpec.model_validate_json(found["spec"]),
        lane=found["lane"],
        times={State(k[5:]): float(v) for k, v in found.items() if k.startswith("time:")},
        attempts={Stage(k[9:]): int(v) for k, v in found.items() if k.startswith("attempts:")},
        error=Failure.model_validate_json(found["error"]) if "error" in found else None,
        history=tuple(Attempt.model_validate(told) for told in json.loads(found.get("history", "[]"))),
        suspect="suspect" in found,
    )


def _key(job_id: str) -> str:
    return f"{PREFIX}job:{job_id}"


def channel(job_id: str) -> str:
    """The channel on which every state that the job enters is published."""
    return _key(job_id)


def _unknown(job_id: str) -> UnknownJob:
    return UnknownJob(f"no job {job_id}: it never was, or its retention time is over")
