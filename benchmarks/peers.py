"""Servers of other frameworks beside maskq's queue: the same image through each, over 32 connections.

Each has one worker process, and a handler that does no more than a job with an identity network (see `peer_servers`).
The frameworks are installed in an environment of their own, which its Python names; maskq does not depend on them.
"""

from __future__ import annotations

import io
import os
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from maskq.workers.local.ports import free_port

#: Framework → the path at which its server takes images.
_PATHS = {"mosec": "/inference", "litserve": "/predict"}
_CONNECTIONS = 32
_READY_S, _STOP_S, _POLL_S = 60, 10, 0.1

#: Sends images and reads all labels.
Send = Callable[[Sequence[bytes]], None]


@contextmanager
def serving(python: Path) -> Iterator[dict[str, Send]]:
    """Start the frameworks that this Python has; yield for each a function that sends images.

    Raises `RuntimeError` if it has none.
    """
    names = [name for name in _PATHS if _has(python, name)]
    if not names:
        raise RuntimeError(f"{python} has none of {', '.join(_PATHS)}: install them there, with numpy and pillow")
    with ExitStack() as until_done:
        yield {name: until_done.enter_context(_serve(python, name)) for name in names}


def _has(python: Path, name: str) -> bool:
    has = subprocess.run([python, "-c", f"import {name}, numpy, PIL"], capture_output=True, check=False).returncode == 0
    if not has:
        print(f"{python} has no {name}: left out", file=sys.stderr)
    return has


@contextmanager
def _serve(python: Path, name: str) -> Iterator[Send]:
    """Run one server; its log is shown if it does not come up."""
    port = free_port()
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    script = Path(__file__).with_name("peer_servers") / f"with_{name}.py"
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([python, script, str(port)], stdout=log, stderr=log, env=env, cwd=folder)
        try:
            try:
                _wait(port, _PATHS[name], server)
            except TimeoutError as error:
                log.seek(0)
                raise RuntimeError(f"{name} does not answer:\n{log.read()[-2000:].decode(errors='replace')}") from error
            yield lambda images: _send(port, _PATHS[name], images)
        finally:
            _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and all of its processes: killed alone, LitServe's would stay."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(server.pid).children(recursive=True)
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_S)
        for process in children:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    server.kill()
    server.wait()


def _wait(port: int, path: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers an image. Raises `TimeoutError`."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(stream, "PNG")
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError, AssertionError):
            return _send(port, path, [stream.getvalue()])
        time.sleep(_POLL_S)
    raise TimeoutError


def _send(port: int, path: str, images: Sequence[bytes]) -> None:
    """Send the images over `_CONNECTIONS` connections, and decode the answers."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for image in images:
        waiting.put(image)

    def work() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=_READY_S)
        with suppress(queue.Empty):
            while True:
                image = waiting.get_nowait()
                connection.request("POST", path, image, {"Content-Type": "application/octet-stream"})
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 200, (answer.status, body[:200])
                assert np.asarray(Image.open(io.BytesIO(body))).ndim == 2
        connection.close()

    connections = min(_CONNECTIONS, len(images))
    with ThreadPoolExecutor(connections) as threads:
        for done in [threads.submit(work) for _ in range(connections)]:
            done.result()
