"""Runs work in a process of its own: with its own malloc settings, and without a queue or client in that process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from maskq.workers.programs import malloc_env

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Work = Callable[[Argument], Result]

_JOIN_S = 10


@contextmanager
def isolated(
    make: Callable[..., Work[Argument, Result]], *arguments: Any, heap: bool = True
) -> Iterator[Work[Argument, Result]]:
    """Call `make(*arguments)`, a module-level function, in a new process; yield a proxy of the function it returns.

    The process has the workers' malloc settings or, without `heap`, the machine's. If the function raises, the process
    ends with a traceback and the proxy raises `EOFError`.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(make, arguments, theirs), daemon=True)
    with _malloc(heap):
        process.start()
    theirs.close()

    def call(argument: Argument) -> Result:
        ours.send((argument,))
        result: Result = ours.recv()
        return result

    try:
        yield call
    finally:
        ours.close()
        process.join(_JOIN_S)


def _serve(make: Callable[..., Work[Any, Any]], arguments: tuple[Any, ...], pipe: Connection) -> None:
    work = make(*arguments)
    while True:
        try:
            (argument,) = pipe.recv()
        except EOFError:  # the parent closed its end
            return
        pipe.send(work(argument))


@contextmanager
def _malloc(heap: bool) -> Iterator[None]:
    """Set the malloc variables for the processes that the block starts."""
    before = {name: os.environ.pop(name, None) for name in malloc_env()}
    os.environ.update(malloc_env() if heap else {})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
