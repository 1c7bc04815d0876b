"""Work in a process of its own: with memory settings of its own, and no queue or client in its way."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from maskq.workers.programs import malloc_env

Given = TypeVar("Given")
Answer = TypeVar("Answer")
Work = Callable[[Given], Answer]

_JOIN_S = 10


@contextmanager
def apart(
    make: Callable[..., Work[Given, Answer]], *arguments: Any, heap: bool = True
) -> Iterator[Work[Given, Answer]]:
    """What `make(*arguments)` returns, made and called in a new process; `make` is a module's own function.

    The process keeps its heap as the workers do; without `heap`, malloc is as the machine has it. Where the work
    raises, the process ends with a traceback and the call raises `EOFError`.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(make, arguments, theirs), daemon=True)
    with _malloc(heap):
        process.start()
    theirs.close()

    def call(given: Given) -> Answer:
        ours.send((given,))
        answer: Answer = ours.recv()
        return answer

    try:
        yield call
    finally:
        ours.close()
        process.join(_JOIN_S)


def _serve(make: Callable[..., Work[Any, Any]], arguments: tuple[Any, ...], link: Connection) -> None:
    work = make(*arguments)
    while True:
        try:
            (given,) = link.recv()
        except EOFError:  # nobody will ask any more
            return
        link.send(work(given))


@contextmanager
def _malloc(heap: bool) -> Iterator[None]:
    """The environment that a process which is started now takes its malloc's settings from."""
    before = {name: os.environ.pop(name, None) for name in malloc_env()}
    os.environ.update(malloc_env() if heap else {})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
