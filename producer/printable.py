"""Text of others, such as a job's name, without characters that steer the terminal or pager that shows it."""

import logging
import re

#: Control characters other than tab and newline, and those that turn the direction of text.
UNPRINTABLE = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")


def printable(text: str) -> str:
    """The text with unprintable characters as Python writes them, such as `\\x1b`."""
    return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def printable_name(name: str) -> str:
    """A name on one line, in valid UTF-8, with 255 characters at most."""
    one_line = name.replace("\n", "\\n").replace("\t", "\\t")
    return printable(one_line).encode("utf-8", "replace").decode()[:255]


class PrintableFormatter(logging.Formatter):
    """Formats records as another formatter does, and makes them printable."""

    def __init__(self, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self._formatter = formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return printable(self._formatter.format(record))


def make_printable(logger: logging.Logger) -> None:
    """Let all handlers of the logger write printable text."""
    for handler in logger.handlers:
        handler.setFormatter(PrintableFormatter(handler.formatter))
