"""What is broken: a private Redis, a proxy before it, workers under their supervisors, and an init system for all."""

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

#: Starting three processes that import torch and numba takes its time on a busy machine.
_START_S = 180


class World:
    """The workers reach Redis through the proxy; `settings` lead to it directly."""

    def __init__(self, folder: Path, *, devices: int, **settings: Any) -> None:
        """`devices` is how many `maskq worker device` there are, each with one thread of the CPU.

        All processes of the workers bear the `mark`; Redis does not.
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
        """The units of workers."""
        return [*self._device_units, "cluster"]

    def answers(self) -> bool:
        """Whether Redis does."""
        with suppress(RedisError):
            return bool(self.redis.ping())
        return False

    def all_listen(self) -> bool:
        """Whether every worker waits for messages: each has one connection that Redis counts as blocked."""
        return int(self.redis.info("clients")["blocked_clients"]) >= len(self.supervisors)

    def in_hand(self) -> frozenset[str]:
        """The jobs that workers have in hand."""
        return frozenset(text(job) for job in self.redis.zrange(LEASES, 0, -1))

    def living(self, kind: str) -> list[psutil.Process]:
        """The processes of a kind: `device`, `cluster parent`, `cluster child`, `supervisor` or `redis`."""
        match kind:
            case "supervisor" | "redis":
                units = self.supervisors if kind == "supervisor" else ["redis"]
                return [process for name in units if (process := self.init.units[name].process)]
            case "device":
                return list(processes("maskq.workers.device.process"))
        cluster = processes("maskq.workers.cluster")
        return [process for process in cluster if (_parent(process) in cluster) == (kind == "cluster child")]

    def close(self) -> None:
        """Take all of it down."""
        try:
            self.init.stop("redis")
        finally:
            self.proxy.close()
            self.to.close()
            for left in marked(self.mark):
                left.kill()


@contextmanager
def world(folder: Path, *, devices: int = 2, **settings: Any) -> Iterator[World]:
    """A world, for the block; its processes' logs are in `folder`."""
    made = World(folder, devices=devices, **settings)
    try:
        yield made
    finally:
        made.close()


def now() -> float:
    """Redis's clock, for it runs on this machine: seconds since 1970."""
    return time.time()


def _parent(process: psutil.Process) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        return process.parent()
    return None


def _be_durable(configuration: Path) -> None:
    """Every write is on the disk before it is answered: with `everysec` a write may wait two seconds for the fsync of
    the last one, and a Redis that is killed then has forgotten a job that was accepted. And the file is never written
    anew, for it is the journal of all that happened.
    """
    always = configuration.read_text().replace("appendfsync everysec", "appendfsync always")
    configuration.write_text(f"{always}auto-aof-rewrite-percentage 0\n")


def _at(url: str, port: int) -> str:
    """The same address but for its port."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))
