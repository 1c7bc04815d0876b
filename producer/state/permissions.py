"""What a Redis user of maskq has to be allowed, and which rules of ACL SETUSER allow what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from .keys import CANCELLED, EVENTS, PREFIX, job_key
from .routing import QUEUES

#: A command and the key or channel that it is for; an empty one if it is for none.
Use: TypeAlias = "tuple[str, str]"

#: The keys and channels of maskq and of Celery's transport; format the channels with the number of the database.
KEYS = "~maskq:* ~_kombu.* ~embed.* ~cluster* ~*.celery.pidbox* ~celeryev.*"
CHANNELS = "&maskq:* &/{0}.celeryev/* &/{0}.celery.pidbox"


def script_uses(source: str, database: int, task_events: bool) -> list[Use]:
    """Everything that the ledger's script runs: commands on maskq's own keys, the queues' lists and the channels."""
    commands = set(re.findall(r"redis\.call\('([A-Z]+)'", source)) - {"PUBLISH", "TIME"}
    channels = [job_key("x"), CANCELLED, *([EVENTS.format(database)] if task_events else [])]
    return [
        ("TIME", ""),
        *((command, f"{PREFIX}x") for command in sorted(commands)),
        *((command, queue) for queue in QUEUES for command in ("EXISTS", "LLEN", "LPUSH")),
        *(("PUBLISH", channel) for channel in channels),
    ]


def worker_uses(database: int) -> list[Use]:
    """What a worker needs beside the script: its messages, Celery's remote control and events, and the outbox."""
    return [
        ("SCRIPT|EXISTS", ""),
        *(("BRPOP", queue) for queue in QUEUES),
        *((command, f"_kombu.binding.celery{end}") for command in ("SADD", "SMEMBERS") for end in ("", ".pidbox")),
        ("PUBLISH", f"/{database}.celeryev/worker.heartbeat"),
        ("SUBSCRIBE", f"/{database}.celery.pidbox"),
        ("SUBSCRIBE", CANCELLED),
        *((command, f"{PREFIX}x") for command in ("XREADGROUP", "XACK", "XAUTOCLAIM")),
    ]


def missing_rules(uses: Iterable[Use], forbidden: Iterable[Use]) -> str:
    """The rules that a user lacks who may not do `forbidden`, a part of `uses`.

    If nothing at all is allowed on a family of keys, the family is missing rather than each command.
    """
    uses, forbidden = list(uses), list(forbidden)
    allowed = {_pattern(command, name) for command, name in uses if (command, name) not in forbidden}
    patterns = [_pattern(command, name) for command, name in forbidden]
    lacking = [pattern for pattern in patterns if pattern and pattern not in allowed]
    commands = [
        f"+{command.lower()}"
        for (command, _), pattern in zip(forbidden, patterns, strict=True)
        if pattern in allowed or pattern.startswith("&") or not pattern
    ]
    return " ".join(dict.fromkeys([*lacking, *commands]))


def _pattern(command: str, name: str) -> str:
    """The rule that allows a key or channel; empty without one."""
    if not name:
        return ""
    sign = "&" if command in ("PUBLISH", "SUBSCRIBE") else "~"
    rules = (KEYS if sign == "~" else CHANNELS.format(name[1:].partition(".")[0])).split()
    return next(rule for rule in rules if name.startswith(rule[1:].rstrip("*")))


def rules_for(message: str) -> str:
    """The rules that Redis's own refusal asks for; empty if it does not say what is missing."""
    if command := re.search(r"the '([a-z|]+)' (?:sub)?command", message):
        return f"+{command[1]}"
    if "channel" in message:
        return CHANNELS.format(0)
    return KEYS if "key" in message else ""
