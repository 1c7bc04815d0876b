"""Says on standard error that jobs wait for workers that nobody has started, while a command waits for results."""

import threading
from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.status import Status

from maskq.producer.client.client import Client
from maskq.producer.errors import BrokerUnavailable

from .terminal import stderr

#: Seconds between two looks.
_INTERVAL_S = 1.0


class WorkerWatch:
    """A context manager. In a terminal the line disappears once workers have come; elsewhere another line says so.

    Standard output has results only, so the line is the same with `--json`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._shown: Status | None = None
        self._missing = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="worker watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()
        self._take_back()

    def _watch(self) -> None:
        while not self._stopped.wait(_INTERVAL_S):
            try:
                unserved = self._client.stats().unserved
            except BrokerUnavailable:  # what was said stays; the command itself waits for the broker
                continue
            if unserved is not None:
                self._show(unserved)
            elif self._missing:
                self._take_back()
                if not stderr.is_terminal:
                    stderr.print("workers have come")
            self._missing = unserved is not None

    def _show(self, unserved: str) -> None:
        text = f"waiting: {unserved}"
        if not stderr.is_terminal:
            if not self._missing:
                stderr.print(text, markup=False, soft_wrap=True)
        elif self._shown:
            self._shown.update(escape(text))
        else:
            self._shown = stderr.status(escape(text))
            self._shown.start()

    def _take_back(self) -> None:
        if self._shown:
            self._shown.stop()
            self._shown = None
