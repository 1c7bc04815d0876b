"""Jupyter: the page's cell in a real kernel, whose event loop runs; and the interrupt button."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from redis import Redis

from maskq import Client
from tests.conftest import until

from .page import IMAGE, WAIT_S, block


@pytest.fixture
def kernel(url: str, tmp_path: Path) -> Iterator[KernelManager]:
    """An IPython kernel in a folder with the page's images; the tests' own user has no notebook profile."""
    for name in "a.tif", "b.tif":
        (tmp_path / name).write_bytes(IMAGE)
    env = os.environ | {"MASKQ_BROKER_URL": url, "IPYTHONDIR": str(tmp_path / "ipython")}
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path), env=env)
    try:
        yield manager
    finally:
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


class Notebook:
    """A notebook that is connected to a kernel."""

    def __init__(self, kernel: KernelManager) -> None:
        self._client: Any = kernel.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=WAIT_S)

    def start(self, code: str) -> str:
        """Start a cell; returns the id of its request."""
        request: str = self._client.execute(code, allow_stdin=False)
        return request

    def answer(self, request: str) -> dict[str, Any]:
        """What the cell ended with."""
        while True:
            message: dict[str, Any] = self._client.get_shell_msg(timeout=WAIT_S)
            if message["parent_header"].get("msg_id") == request:
                content: dict[str, Any] = message["content"]
                return content

    def run(self, code: str) -> None:
        """Run a cell to its end."""
        answer = self.answer(self.start(code))
        assert answer["status"] == "ok", answer

    def close(self) -> None:
        """Disconnect."""
        self._client.stop_channels()


@pytest.fixture
def notebook(kernel: KernelManager) -> Iterator[Notebook]:
    notebook = Notebook(kernel)
    yield notebook
    notebook.close()


def test_the_cell_of_the_page(notebook: Notebook) -> None:
    notebook.run("import asyncio; assert asyncio.get_running_loop().is_running()")
    notebook.run(block("Jupyter", "python"))
    notebook.run("assert results[0].labels.shape == (64, 64) and results[0].labels.max() == len(results[1].objects)")
    notebook.run("jobs = [await asyncio.to_thread(client.submit, 'a.tif') for _ in range(3)]")
    notebook.run("assert {len(job.wait(60).objects) for job in jobs} == {len(results[0].objects)}")


def test_interrupting_cancels_what_is_in_flight(kernel: KernelManager, notebook: Notebook, redis_port: int) -> None:
    unserved = f"redis://127.0.0.1:{redis_port}/8"
    notebook.run(f"from maskq import Client; client = Client({unserved!r})")
    cell = notebook.start("list(client.map(['a.tif', 'b.tif']))")
    with Client(unserved) as client, Redis(port=redis_port) as redis:
        until(lambda: redis.pubsub_channels("maskq:job:*"), WAIT_S)  # it waits for the first
        kernel.interrupt_kernel()
        assert notebook.answer(cell)["ename"] == "KeyboardInterrupt"
        assert client.stats().unfinished == 0
