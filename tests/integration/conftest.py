"""What tests of a running stack share. Each such module has a fixture `stack` of its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from maskq import Client
from maskq.workers.local.stack import Stack
from maskq.workers.supervision.supervisor import Program
from tests.conftest import processes


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    """A client of the module's stack."""
    with Client(settings=stack.settings) as made:
        yield made


@contextmanager
def asleep(module: str) -> Iterator[None]:
    """No process of the module does anything while the block runs."""
    found = processes(module)
    assert found
    for process in found:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in found:
            process.send_signal(signal.SIGCONT)


def with_module(program: Program, module: str, env: dict[str, str]) -> Program:
    """The program with a module of the tests' in the place of its own, and more in its environment."""
    python, _, dash_m, _, *arguments = program.argv
    return replace(program, argv=(python, dash_m, module, *arguments), env={**program.env, **env})


def forgive_deaths(stack: Stack) -> None:
    """Five deaths in a minute are a crash loop; what died until now did so on purpose."""
    for process in stack.supervisor._processes:
        process.deaths.clear()
