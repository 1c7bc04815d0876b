"""Helpers for tests with a running stack. Each test module defines its own fixture `stack`."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from maskq import Client, Settings
from maskq.producer.state.connections import Connections
from maskq.workers.device.spec import DeviceSpec
from maskq.workers.local import stack as stacks
from maskq.workers.local.ports import free_port
from maskq.workers.local.stack import Stack, running
from maskq.workers.programs import device_program
from maskq.workers.supervision.process import Program
from tests.conftest import processes, until
from tests.faulty_device import FAULTS


@dataclass(frozen=True)
class S3:
    """A running S3 server with a bucket."""

    #: The variables by which programs find and enter it.
    env: dict[str, str]
    bucket: str
    #: The file with a line for each request.
    log: Path


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server process (moto's)."""
    port, log = free_port(), tmp_path_factory.mktemp("s3") / "requests.log"
    url = f"http://127.0.0.1:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    with log.open("wb") as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        until(lambda: _creates(f"{url}/payloads"), 60)
        yield S3(keys | {"AWS_ENDPOINT_URL": url}, "payloads", log)
    finally:
        server.terminate()
        server.wait()


def _creates(bucket: str) -> bool:
    try:
        return httpx.put(bucket).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    """A client of the module's stack."""
    with Client(settings=stack.settings) as client:
        yield client


@pytest.fixture(scope="module")
def connections(stack: Stack) -> Iterator[Connections]:
    """Connections to the module's stack."""
    connections = Connections.open(stack.settings)
    yield connections
    connections.close()


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the planned faults of the device of `running_with_faults`."""
    file = tmp_path_factory.mktemp("faults") / "heights"
    file.write_text("")
    return file


@contextmanager
def running_with_faults(settings: Settings, faults: Path) -> Iterator[Stack]:
    """A stack whose device has the faults that are planned in the file."""

    def faulty(spec: DeviceSpec, settings: Settings) -> Program:
        return with_module(device_program(spec, settings), "tests.faulty_device", {FAULTS: str(faults)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "device_program", faulty)
        with running(settings) as stack:
            yield stack


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
