"""An init system: keeps commands running, whatever ends them."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil


class Unit:
    """One command, and the process that runs it now."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.name, self._argv, self._env, self._log = name, argv, {**os.environ, **env}, log
        self.starts = 0
        self.start()

    def start(self) -> None:
        """Run it anew."""
        with self._log.open("ab") as log:
            self.popen = subprocess.Popen(
                self._argv, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.starts += 1

    @property
    def process(self) -> psutil.Process | None:
        """The process that runs it now; None between two."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.popen.pid) if self.popen.poll() is None else None
        return None


class Init:
    """Starts what has ended again, a fifth of a second later, until `stop`."""

    _LOOK_S = 0.2

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self.units: dict[str, Unit] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="init", daemon=True)
        self._thread.start()

    def start(self, name: str, *argv: str, env: Mapping[str, str] | None = None) -> Unit:
        """Run a command from now on; its log is `name.log`."""
        unit = self.units[name] = Unit(name, argv, env or {}, self._logs / f"{name}.log")
        return unit

    def stop(self, *last: str) -> None:
        """SIGTERM to all but the `last`, and to those when the others have ended; what takes a minute is killed."""
        self._over.set()
        self._thread.join()
        first = [unit for name, unit in self.units.items() if name not in last]
        for group in (first, [self.units[name] for name in last if name in self.units]):
            for unit in group:
                unit.popen.terminate()
            for unit in group:
                self._bury(unit)

    def _bury(self, unit: Unit) -> None:
        try:
            unit.popen.wait(60)
        except subprocess.TimeoutExpired:
            unit.popen.kill()
            unit.popen.wait()

    def _keep(self) -> None:
        while not self._over.wait(self._LOOK_S):
            for unit in list(self.units.values()):
                if unit.popen.poll() is not None:
                    unit.start()
