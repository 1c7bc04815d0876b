"""`maskq up`: the whole stack, kept up until Ctrl-C."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from maskq.producer.settings import Settings
from maskq.workers.local.stack import running
from maskq.workers.supervision.supervisor import Supervisor

from .worker import given

console = Console(highlight=False)


class AlreadyUp(RuntimeError):
    """Another `maskq up` keeps its data in the same folder."""


def up(settings: dict[str, Any]) -> int:
    """Bring the stack up, say where it is, and stay."""
    chosen = given(settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.print("starting Redis, workers, gateway and Flower …")
    with (
        _alone(chosen.state_dir),
        running(chosen, folder=chosen.state_dir / "redis", flower=True, gateway=True, logs=False) as stack,
        _announced(stack.settings),
    ):
        console.print(f"[bold green]up[/]  Flower: {stack.flower_url}    gateway: {stack.gateway_url}/docs")
        console.print(f"broker: export MASKQ_BROKER_URL={stack.settings.broker_url}", soft_wrap=True)
        console.print("queue images:  maskq submit IMAGES...    Ctrl-C stops it; unfinished jobs are kept")
        _stay(stack.supervisor)
        console.print("stopping …")
    return 0


def _stay(supervisor: Supervisor) -> None:
    try:
        supervisor.wait()
    except KeyboardInterrupt:
        return


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which goes with this process however it ends."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUp(f"a `maskq up` is running already with its data in {folder}") from None
        yield


@contextmanager
def _announced(settings: Settings) -> Iterator[None]:
    """Leave the broker's address, which has its password, where only this user's other terminals find it."""
    file = settings.broker_file
    file.touch(mode=0o600)
    file.write_text(settings.broker_url or "")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
