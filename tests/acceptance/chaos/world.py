"""The system under test: a private Redis, a proxy in front of it, supervised workers, and an init system for all."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil
from redis import Redis
from redis.exceptions import RedisError

from maskq import Settings
from maskq.producer.state.connections import Connections
from maskq.producer.state.keys import LEASES
from maskq.workers.local.redis_server import private_redis
from maskq.workers.programs import settings_env
from tests.acceptance.processes import MASKQ, marked
from tests.conftest import processes, text, until

from .proxy import Proxy
from .units import Init

#: Seconds; three processes that import torch and numba start slowly on a busy machine.
_START_S = 180


class World:
    """The workers reach Redis through the proxy; `settings` lead to it directly."""

    def __init__(self, folder: Path, *, devices: int, **settings: Any) -> None:
        """`devices` is the number of `maskq worker device` processes, each with one CPU thread.

        The environment of every worker process contains `mark`; that of Redis does not.
        """
        self.mark, self.folder = uuid.uuid4().hex, folder
        server = private_redis(folder / "redis")
        _be_durable(folder / "redis" / "redis.conf")
        self.journal_folder = folder / "redis"
        port = urlsplit(server.url).port
        assert port
        self.proxy = Proxy(port)
        self.settings = Settings(
            broker_url=server.url, devices="cpu", torch_threads=1, cluster_processes=2, log_level="INFO", **settings
        )
        self.through_proxy = self.settings.model_copy(update={"broker_url": _at(server.url, self.proxy.port)})
        self.to = Connections.open(self.settings)
        self.redis: Redis = self.to.redis
        self.init = Init(folder)
        self._device_units = [f"device{n}" for n in range(devices)]
        self._worker_env = settings_env(self.through_proxy) | {"MASKQ_TEST_MARK": self.mark}
        try:
            self.init.start("redis", *server.program.argv)
            until(lambda: self.answers())
            for unit in self._device_units:
                self.init.start(unit, *MASKQ, "worker", "device", env=self._worker_env)
            self.init.start("cluster", *MASKQ, "worker", "cluster", env=self._worker_env)
            until(self.all_listen, _START_S)
        except BaseException:
            self.close()
            raise

    @property
    def supervisors(self) -> list[str]:
        """The names of the workers' units."""
        return [*self._device_units, "cluster"]

    def answers(self) -> bool:
        """Whether Redis answers."""
        with suppress(RedisError):
            return bool(self.redis.ping())
        return False

    def all_listen(self) -> bool:
        """Whether every worker waits for messages. Redis counts one blocked connection per waiting worker."""
        return int(self.redis.info("clients")["blocked_clients"]) >= len(self.supervisors)

    def in_hand(self) -> frozenset[str]:
        """The ids of the jobs that workers hold leases of."""
        return frozenset(text(job) for job in self.redis.zrange(LEASES, 0, -1))

    def living(self, kind: str) -> list[psutil.Process]:
        """The running processes of a kind: `device`, `cluster parent`, `cluster child`, `supervisor` or `redis`."""
        match kind:
            case "supervisor" | "redis":
                units = self.supervisors if kind == "supervisor" else ["redis"]
                return [process for name in units if (process := self.init.units[name].process)]
            case "device":
                return list(processes("maskq.workers.device.process"))
        cluster = processes("maskq.workers.cluster")
        return [process for process in cluster if (_parent(process) in cluster) == (kind == "cluster child")]

    def close(self) -> None:
        """Stop everything, and kill the processes that remain."""
        try:
            self.init.stop("redis")
        finally:
            self.proxy.close()
            self.to.close()
            for process in marked(self.mark):
                process.kill()


@contextmanager
def world(folder: Path, *, devices: int = 2, **settings: Any) -> Iterator[World]:
    """A world for the duration of the block; its processes log to `folder`."""
    instance = World(folder, devices=devices, **settings)
    try:
        yield instance
    finally:
        instance.close()


def now() -> float:
    """Seconds since 1970. Redis runs on this machine, so its clock is the same."""
    return time.time()


def _parent(process: psutil.Process) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        return process.parent()
    return None


def _be_durable(configuration: Path) -> None:
    """Make Redis write to the disk before it answers, and never rewrite the append-only file, which is the journal.

    With `everysec` a write may wait 2 s for the previous fsync; a Redis that is killed meanwhile loses an accepted job.
    """
    always = configuration.read_text().replace("appendfsync everysec", "appendfsync always")
    configuration.write_text(f"{always}auto-aof-rewrite-percentage 0\n")


def _at(url: str, port: int) -> str:
    """The URL with another port."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))
