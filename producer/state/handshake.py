"""The options by which redis-py sends nothing on a new connection but the login, the protocol and the database."""

from __future__ import annotations

from inspect import signature
from typing import Any


def plain_handshake() -> dict[str, Any]:
    """Options for redis-py's connections, of its blocking and its asyncio kind.

    By default it also sends its own name and version and asks for notifications of maintenance. Redis 7.0 refuses all
    three, and counts three errors for every connection.
    """
    from redis.connection import AbstractConnection

    known = signature(AbstractConnection.__init__).parameters
    options: dict[str, Any] = (
        {"driver_info": None} if "driver_info" in known else {"lib_name": None, "lib_version": None}
    )
    if "maint_notifications_config" in known:
        from redis.maint_notifications import MaintNotificationsConfig

        options["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
    return options
