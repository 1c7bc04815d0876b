"""`maskq up`: the whole stack, until Ctrl-C."""

from __future__ import annotations

import fcntl
import shlex
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from maskq.producer.settings import LOCK, Settings
from maskq.producer.state.connections import Connections

from .extras import STACK, require
from .options import Devices, Processes, read_settings
from .terminal import startup, stdout

if TYPE_CHECKING:
    from maskq.workers.local.stack import Stack

app = typer.Typer()


class AlreadyUp(RuntimeError):
    """Another `maskq up` uses the same state folder."""


class StateFolderUnusable(RuntimeError):
    """The state folder can't be made or written."""


@app.command()
def up(devices: Devices = None, cluster_processes: Processes = None) -> int:
    """Start Redis, workers, HTTP gateway and Flower, and keep them running until Ctrl-C.

    Jobs and results stay on disk until the next `up`. `maskq submit` in another terminal finds the broker by itself.
    """
    require(*STACK, "uvicorn", "flower")
    settings = read_settings(devices=devices, cluster_processes=cluster_processes)
    if settings.broker_url:
        Connections.open(settings).check_worker()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _locked(settings.state_dir), ExitStack() as until_stopped:
        stack = _start(settings, until_stopped)
        until_stopped.enter_context(_published(stack.settings))
        stdout.print(f"  Flower: {stack.flower_url}")
        stdout.print(f"  gateway: {stack.gateway_url}/docs")
        # The URL has the password, and this output may end up in a log.
        file = shlex.quote(str(stack.settings.broker_file))
        stdout.print(f'  broker: export MASKQ_BROKER_URL="$(cat {file})"', soft_wrap=True, markup=False)
        stdout.print(f"  logs: {stack.log_dir}", soft_wrap=True, markup=False)
        stdout.print("Queue images with `maskq submit IMAGES...`.")
        stdout.print("Ctrl-C stops the stack; unfinished jobs are kept.")
        with suppress(KeyboardInterrupt):
            stack.supervisor.wait()
        stdout.print("stopping …")
    return 0


def _start(settings: Settings, until_stopped: ExitStack) -> Stack:
    """Start a stack, which `until_stopped` stops, and print the names of its processes."""
    from maskq.workers.local.stack import running

    processes: dict[str, None] = {}
    stdout.print("starting Redis, workers, gateway and Flower …")
    with stdout.status("") as status:

        def on_start(waiting: tuple[str, ...]) -> None:
            processes.update(dict.fromkeys(waiting))
            status.update(startup(waiting))

        folder = settings.state_dir
        stack = until_stopped.enter_context(
            running(
                settings, folder=folder / "redis", flower=True, gateway=True, log_dir=folder / "logs", on_start=on_start
            )
        )
    stdout.print(f"[bold green]up[/]: {', '.join(processes)}")
    return stack


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel releases it when this process ends.

    Raises `AlreadyUp` and `StateFolderUnusable`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise StateFolderUnusable(f"{error}: set MASKQ_STATE_DIR to a folder that this user can write") from error
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUp(f"a `maskq up` is running already with its data in {folder}") from None
        yield


@contextmanager
def _published(settings: Settings) -> Iterator[None]:
    """While the block runs, the broker's URL, which has its password, is in a file that only this user can read."""
    file = settings.broker_file
    file.touch(mode=0o600)
    file.write_text(settings.broker_url or "")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
