"""Commands, started as a user starts them, and the processes that they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

MASKQ = [str(Path(sys.executable).with_name("maskq"))]


def maskq(
    *arguments: str | Path, env: dict[str, str] | None = None, timeout: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*MASKQ, *map(str, arguments)], env=plain(env), capture_output=True, text=True, timeout=timeout, check=False
    )


def start(*arguments: str | Path, env: dict[str, str] | None = None, **popen: Any) -> subprocess.Popen[str]:
    """Start a command in a new session, as a terminal does."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | popen
    return subprocess.Popen([*MASKQ, *map(str, arguments)], env=plain(env), start_new_session=True, **pipes)


def plain(env: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment, marked so that every descendant can be found."""
    return {**os.environ, "COLUMNS": "200", **(env or {})}


def marked(mark: str) -> list[psutil.Process]:
    """Every living process that has `mark` in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MASKQ_TEST_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found
