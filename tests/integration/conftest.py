"""Helpers for tests with a running stack. Each test module defines its own fixture `stack`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from maskq import Client
from maskq.workers.local.stack import Stack
from maskq.workers.supervision.process import Program
from tests.conftest import processes


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    """A client of the module's stack."""
    with Client(settings=stack.settings) as client:
        yield client


@contextmanager
def asleep(module: str) -> Iterator[None]:
    """Stop every process that runs the module (SIGSTOP) while the block runs."""
    stopped = processes(module)
    assert stopped
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            process.send_signal(signal.SIGCONT)


def with_module(program: Program, module: str, env: dict[str, str]) -> Program:
    """The program, but running a module of the tests, with additional environment variables."""
    python, _, dash_m, _, *arguments = program.argv
    return replace(program, argv=(python, dash_m, module, *arguments), env={**program.env, **env})


def forgive_deaths(stack: Stack) -> None:
    """Forget the processes' deaths so far, which tests caused: five within a minute would be a crash loop."""
    for process in stack.supervisor._processes:
        process.deaths.clear()
