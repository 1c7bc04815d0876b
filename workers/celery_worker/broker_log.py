"""A worker's log while its broker is away or refuses commands: a line that names the remedy, instead of tracebacks."""

import logging
import time
from typing import Any

from billiard.exceptions import RestartFreqExceeded
from celery.signals import after_setup_logger, after_setup_task_logger

from maskq.producer.state.broker_errors import explain

#: Celery's advice about tasks that are acknowledged late comes with each lost connection, and turns filters of warnings
#: off. It is for workers whose queues keep unacknowledged messages.
_ADVICE = "CPendingDeprecationWarning"
#: The same line is logged again after this time, seconds.
_AGAIN_S = 30.0
#: So many characters tell the lines apart: what follows varies, such as the number of a port.
_BEGINNING = 40


class BrokerErrors(logging.Filter):
    """Rewrites the records of errors of the broker, by whichever library, and drops repetitions."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record, which may be rewritten."""
        if record.name == "py.warnings" and _ADVICE in record.getMessage():
            return False
        if record.exc_info and isinstance(record.exc_info[1], RestartFreqExceeded):
            return False  # the connection was lost five times in a second; why, is logged
        if (explained := _explained(record)) is None:
            return True
        now, kind = time.monotonic(), explained[:_BEGINNING]
        if now - self._logged.get(kind, -_AGAIN_S) < _AGAIN_S:
            return False
        self._logged[kind] = now
        record.msg, record.args = "%s: %s", (record.threadName, explained)
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def _explained(record: logging.LogRecord) -> str | None:
    """What the broker's error means if the record is about one, as its exception or among its arguments."""
    if record.levelno < logging.WARNING:
        return None
    arguments = record.args if isinstance(record.args, tuple) else ()
    for error in (record.exc_info[1] if record.exc_info else None, *arguments):
        for cause in (error, getattr(error, "__cause__", None)):  # kombu wraps some
            if isinstance(cause, Exception) and (explained := explain(cause)):
                return str(explained).replace("\n", " ")
    return None


def install() -> None:
    """Have every handler that Celery sets up in this process filter its records."""
    errors = BrokerErrors()

    def add_filter(logger: logging.Logger, **_: Any) -> None:
        for handler in logger.handlers:
            handler.addFilter(errors)

    for signal in (after_setup_logger, after_setup_task_logger):
        signal.connect(add_filter, weak=False)
