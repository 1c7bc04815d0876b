"""The ledger's Lua script: its source, and how a transition runs in it.

The names that Python and Lua share (keys, states, stages, queues, payloads) and the configuration stand once, in
Python. The script begins with them, as Lua tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Self, cast

from ...errors import BrokerUnavailable
from ...schema import Stage, State
from .. import keys
from ..handshake import plain_handshake
from ..keys import Command, job_key
from ..permissions import Use, missing_rules, script_uses
from ..routing import CLUSTER_QUEUE, FIXED, LANES, PRIORITIES, TASKS, VARIED, queue_of
from ..store import Payload, PayloadStore, RedisStore
from .work import LARGE

if TYPE_CHECKING:
    from redis import Redis

#: The parts of the script, in order.
_PARTS = (
    "base.lua",
    "queues.lua",
    "turns.lua",
    "held.lua",
    "states.lua",
    "stacks.lua",
    "sharing.lua",
    "submission.lua",
    "claims.lua",
    "sweeps.lua",
    "permissions.lua",
    "dispatch.lua",
)


@dataclass(frozen=True)
class LedgerConfig:
    """The ledger's bounds and times. `producer.settings` describes each under the same name."""

    retention_s: int = 86_400
    dead_retention_s: int = 604_800
    failed_input_s: int = 600
    max_queued: int = 100_000
    max_queued_bytes: int = 1 << 40
    max_ended_bytes: int = 1 << 40
    max_client_queued: int = 100_000
    max_client_work: int = 1_000_000_000_000
    max_attempts: int = 3
    lease_s: float = 8.0
    stage_limit_s: float = 120.0
    age_s: float = 60.0
    window: int = 16
    task_events: bool = True


class LedgerScript:
    """One ledger's connection, payload store and script. Threads and forks may share it."""

    def __init__(self, redis: Redis, store: PayloadStore | None = None, **config: Any) -> None:
        """`config` are fields of `LedgerConfig`. The default store is the ledger's own Redis."""
        self._redis, self.config = redis, LedgerConfig(**config)
        self._store = store or RedisStore(redis, self.config.retention_s)
        #: The store if it is this Redis: then a payload and its transition share one round trip.
        self._redis_store = self._store if isinstance(self._store, RedisStore) else None
        database = redis.connection_pool.connection_kwargs.get("db", 0)
        source = script_source(self.config, database, self._redis_store is not None)
        self._script = redis.register_script(source)
        self._uses, self._permitted = script_uses(source, database, self.config.task_events), False

    @property
    def lease_s(self) -> float:
        """Seconds that a claim lasts without renewal."""
        return self.config.lease_s

    def with_timeout(self, answer_s: float, **options: Any) -> Self:
        """The same ledger over connections of its own, which wait `answer_s` seconds at most for an answer.

        For calls that must not wait behind a silent connection as long as a large image may take on a slow line.
        `options` are further options of redis-py's connections.
        """
        from redis import ConnectionPool, Redis

        pool = self._redis.connection_pool
        options |= {"socket_timeout": answer_s, "socket_connect_timeout": answer_s} | plain_handshake()
        quick = ConnectionPool(
            connection_class=pool.connection_class,
            max_connections=pool.max_connections,
            **(pool.connection_kwargs | options),
        )
        return type(self)(Redis(connection_pool=quick), self._store, **asdict(self.config))

    def check_permissions(self, uses: Sequence[Use] = ()) -> None:
        """Raises `BrokerUnavailable` if this Redis user may not do all that the script does, and `uses` besides.

        The script would stop half-way. What is permitted is not asked again. Redis 6 can't tell.
        """
        if self._permitted and not uses:
            return
        asked = [*self._uses, *uses]
        answer = self._run_script("forbidden", "", json.dumps(asked))
        forbidden = [(command.decode(), name.decode()) for command, name in answer]
        if forbidden:
            user = self._redis.connection_pool.connection_kwargs.get("username") or "default"
            raise BrokerUnavailable(
                f"the Redis user {user} may not do all that maskq needs; give it the permission: "
                f"ACL SETUSER {user} {missing_rules(asked, forbidden)}"
            )
        self._permitted = True

    def _run_script(self, transition: str, job_id: str, *arguments: str | float) -> Any:
        return self._script(keys=[job_key(job_id)], args=[transition, job_id, *arguments])

    def _run_script_with(
        self, commands: Sequence[Command], atomic: bool, transition: str, job_id: str, *arguments: str | float
    ) -> list[Any]:
        """Run commands and then a transition in one round trip; returns all answers, errors of commands included.

        If `atomic`, a command that Redis refuses (for want of memory) keeps the transition from running. Raises the
        transition's error.
        """
        from redis.exceptions import NoScriptError

        with self._redis.pipeline(transaction=atomic) as pipe:
            # redis-py would quote a failed command in the error: for an image, a third of a second a megabyte with the
            # GIL held.
            pipe.annotate_exception = lambda *_: None  # type: ignore[method-assign]
            for command in commands:
                pipe.execute_command(*command)  # type: ignore[no-untyped-call]
            pipe.evalsha(self._script.sha, 1, job_key(job_id), *cast(Any, (transition, job_id, *arguments)))
            answers = pipe.execute(raise_on_error=False)
        if isinstance(answers[-1], NoScriptError):  # Redis has restarted; the commands have run
            answers[-1] = self._run_script(transition, job_id, *arguments)
        if isinstance(answers[-1], Exception):
            raise answers[-1]
        return answers

    def _transition(self, transition: str, job_id: str, *arguments: str | float) -> str:
        """Run a transition that answers `ok`, or the state in which it does not apply."""
        return cast(bytes, self._run_script(transition, job_id, *arguments)).decode()


def script_source(config: LedgerConfig = LedgerConfig(), database: int = 0, in_redis: bool = True) -> str:
    """The script: the shared names and the configuration, then the Lua files. `in_redis` is where payloads are."""
    here = files(__package__)
    names = shared_names(database) | {"in_redis": in_redis}
    head = f"local names = {to_lua(names)}\nlocal config = {to_lua(asdict(config))}\n"
    return head + "\n".join(here.joinpath(name).read_text() for name in _PARTS)


def shared_names(database: int) -> dict[str, Any]:
    """The names that Python defines and the script uses, as `base.lua` describes them."""
    return {
        "prefix": keys.PREFIX,
        "keys": {name: getattr(keys, name.upper()) for name in _SHARED_KEYS},
        "max_endings": keys.MAX_ENDINGS,
        "events": keys.EVENTS.format(database),
        "stage_of": {str(state): str(stage) for stage in Stage for state in (stage.waiting, stage.working)},
        "waiting": {str(stage): str(stage.waiting) for stage in Stage},
        "working": {str(stage): str(stage.working) for stage in Stage},
        "task": {str(stage): TASKS[stage] for stage in Stage},
        "queue": {"embed": {lane: queue_of(Stage.EMBED, lane) for lane in LANES}, "cluster": CLUSTER_QUEUE},
        "fixed": FIXED,
        "varied": VARIED,
        "priorities": PRIORITIES,
        "state": {str(state): str(state) for state in State},
        "payload": {str(kind): str(kind) for kind in Payload},
        "stale_s": keys.STALE_S,
        "large": {str(stage): pixels for stage, pixels in LARGE.items()},
    }


_SHARED_KEYS = (
    *("active", "leases", "delayed", "expiring", "stacks", "following"),
    *("dead", "kept", "cancelled", "endings", "devices", "cluster_workers", "lanes_apart"),
)


def to_lua(value: object) -> str:
    """A Lua literal of nested dicts, lists, strings of ASCII, numbers, booleans and None."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{to_lua(str(key))}] = {to_lua(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(to_lua, value)) + "}"
    if isinstance(value, str):
        return '"' + "".join(char if char.isalnum() else f"\\{ord(char):03}" for char in value) + '"'
    if value == math.inf:
        return "math.huge"
    return "nil" if value is None else str(value).lower()
