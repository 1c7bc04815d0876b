"""A supervised process: the program to run, and the operating system's process that runs it now."""

import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from .heartbeat import HEARTBEAT_FD, HeartbeatMonitor, set_parent_death_signal
from .log_files import open_log

#: Variables by which Celery and its command line import the user's own app, configuration or Django project, or connect
#: to another broker. A user's shell may have them for another application.
_CELERY_VARIABLES = {"APP", "BROKER_URL", "CONFIG_MODULE", "DJANGO_SETTINGS_MODULE", "LOADER", "RESULT_BACKEND"}

#: A program that ends this many times within `WINDOW_S` seconds is in a crash loop.
MAX_DEATHS, WINDOW_S = 5, 60.0


@dataclass(frozen=True)
class Program:
    """What to run, and its name in log files and errors."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    #: Whether it sends heartbeats (maskq's own programs do, redis-server doesn't).
    has_heartbeat: bool = True
    #: A ready process is killed and replaced after this many seconds without a heartbeat.
    heartbeat_s: float = 12.0


class Process:
    """One program, its current process, and the times of its deaths."""

    def __init__(self, program: Program, log_dir: Path | None) -> None:
        """Start it; it logs to `NAME.log` in `log_dir`, or to standard error. Raises `OSError`."""
        self.program = program
        self.deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self.log_file = log_dir / f"{program.name}.log" if log_dir else None
        #: The monotonic time of its restart; 0 while it runs.
        self.restart_at = 0.0
        self.start()

    def start(self) -> None:
        """Start the program, again or for the first time. Raises `OSError`."""
        supervisor_end, process_end = socket.socketpair()
        inherited = os.environ.items()
        env = {key: text for key, text in inherited if key not in _CELERY_VARIABLES and not key.startswith("CELERY_")}
        output: IO[bytes] | None = open_log(self.log_file) if self.log_file else None
        try:
            self.popen = subprocess.Popen(
                self.program.argv,
                env={**env, **self.program.env, HEARTBEAT_FD: str(process_end.fileno())},
                pass_fds=(process_end.fileno(),) if self.program.has_heartbeat else (),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C must reach the supervisor only, which stops processes in order
                preexec_fn=None if self.program.has_heartbeat else set_parent_death_signal,
            )
        finally:
            process_end.close()
            if output:
                output.close()
        self.monitor = HeartbeatMonitor(supervisor_end)

    @property
    def ready(self) -> bool:
        """Whether it can take work; a program without a heartbeat counts as ready while it runs."""
        return self.monitor.ready or not (self.program.has_heartbeat or self.restart_at)

    @property
    def silent(self) -> bool:
        """Whether its heartbeat has been missing for so long that it must be stuck."""
        return self.monitor.ready and self.monitor.silent_s > self.program.heartbeat_s

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; SIGKILL goes to its whole session."""
        with suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(self.popen.pid, number)
            else:
                self.popen.send_signal(number)

    def log_tail(self) -> str:
        """The last 15 lines of its log, each after a line break."""
        if not self.log_file or not self.log_file.exists():
            return ""
        return "\n" + "\n".join(self.log_file.read_text(errors="replace").splitlines()[-15:])
