"""`maskq run`: segments images from start to end."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskq.producer.client import containers
from maskq.producer.client.client import Client
from maskq.producer.client.job import Result
from maskq.producer.client.paths import ImagePath, expand
from maskq.producer.errors import BrokerUnavailable
from maskq.producer.formats.registry import DEFAULT
from maskq.producer.schema import Options
from maskq.producer.settings import Settings

from .extras import STACK, require
from .job_options import with_job_options
from .options import (
    Devices,
    FormatNames,
    Json,
    Model,
    Out,
    Paths,
    Processes,
    Recursive,
    Simplify,
    read_settings,
)
from .terminal import show_skipped, startup, stderr
from .worker_watch import WorkerWatch

if TYPE_CHECKING:
    from maskq.workers.local.stack import Stack

    from .run_output import RunOutput

#: At most this many images are in flight: several batches for a GPU, which otherwise waits for the client. All of them
#: are in Redis, as images or as results that wait for the one being written: if the files are so large that they exceed
#: `_MAX_BYTES`, fewer are in flight, but at least `_MIN_IN_FLIGHT`, the client's own default.
_MAX_IN_FLIGHT, _MAX_BYTES, _MIN_IN_FLIGHT = 128, 1 << 30, 32
#: What an object takes in a stored result, at most; and what a job does besides (bytes).
_OBJECT_BYTES = 1000

app = typer.Typer()


@app.command()
@with_job_options
def run(
    paths: Paths,
    out: Out,
    options: Options,
    model: Model = "nuclei",
    devices: Devices = None,
    cluster_processes: Processes = None,
    format_names: FormatNames = DEFAULT,
    simplify: Simplify = 0,
    flower: Annotated[bool, typer.Option("--flower", help="Start Flower too, and print its address.")] = False,
    recursive: Recursive = False,
    as_json: Json = False,
) -> int:
    """Segment images: start Redis and workers, write the results, stop everything.

    With MASKQ_BROKER_URL set, the workers of that broker are used instead. Exit status 1 if an image failed.
    """
    settings = read_settings(devices=devices, cluster_processes=cluster_processes)
    if settings.broker_url is None:
        require(*STACK)
    from maskq.producer.formats.folder import ResultFolder

    from .run_output import RunOutput

    images = expand(paths, recursive=recursive)
    files = ResultFolder(out, format_names, simplify=simplify)
    if settings.broker_url is None:
        from maskq.segmentation.models.registry import find

        find(model, settings.model_folders)  # an unknown model is reported before anything starts
    show_skipped(paths, recursive=recursive)
    output = RunOutput(images, out, files, as_json)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _segment(images, model, options, settings, flower, output)
    except KeyboardInterrupt:
        return output.finish(interrupted=True)
    return output.finish(interrupted=False)


def _segment(
    images: list[ImagePath], model: str, options: Options, settings: Settings, flower: bool, output: RunOutput
) -> None:
    """Send the images to the configured broker, or to a stack of their own, and output the results."""
    with output, ExitStack() as until_done:
        stack = _start(settings, flower, output, until_done) if settings.broker_url is None else None
        client = until_done.enter_context(Client(settings=stack.settings if stack else settings))
        client.check()
        if not stack:
            until_done.enter_context(WorkerWatch(client))
        output.describe("loading the model …" if stack else "waiting for workers …")
        sources = client.map(
            images,
            in_flight=in_flight(images),
            watch=output.show_planes,
            errors="return",
            model=model,
            options=options,
        )
        outcomes = until_done.enter_context(closing(sources))
        kept = _Kept(client, stack.settings.redis_memory) if stack else None
        try:
            for image, outcome in zip(images, outcomes, strict=True):
                output.add(image, outcome, partial(_submitted, client, image, outcome, options, settings))
                if kept:
                    kept.add(outcome, _size(image))
        except KeyboardInterrupt:
            if stack and stack.supervisor.error:
                raise stack.supervisor.error from None
            raise


class _Kept:
    """The done jobs of a Redis that ends with the run, from which equal images have their results.

    The oldest are deleted before they take a sixteenth of its memory, so that the run has room however long it is.
    """

    def __init__(self, client: Client, memory: int) -> None:
        self._client, self._limit = client, memory // 16
        self._jobs: deque[tuple[str, int]] = deque()
        self._bytes = 0

    def add(self, outcome: Result | Exception, image_size: int) -> None:
        """Count a job that is done, and delete others if there are too many."""
        if not isinstance(outcome, Result):
            return
        pixels = outcome.size[0] * outcome.size[1] * max(1, len(outcome.planes))  # a URL's image has no size here
        size = max(image_size, pixels) + len(outcome.label_file) + _OBJECT_BYTES * (1 + len(outcome.objects))
        self._jobs.append((outcome.job.id, size))
        self._bytes += size
        while self._bytes > self._limit:
            job_id, size = self._jobs.popleft()
            self._bytes -= size
            with suppress(BrokerUnavailable):
                self._client.drop(job_id)


def _submitted(
    client: Client, image: ImagePath, outcome: Result | Exception, options: Options, settings: Settings
) -> bytes:
    """The image file that was submitted: of a container or URL, which the client has read, the job's copy."""
    if isinstance(image, Path) and containers.find(image, options, settings.max_bytes) is None:
        return image.read_bytes()
    assert isinstance(outcome, Result)
    return client.job(outcome.job.id).image()


def in_flight(images: Sequence[ImagePath]) -> int:
    """The largest number of these images that may be in flight."""
    largest = max(map(_size, images))
    return max(_MIN_IN_FLIGHT, min(_MAX_IN_FLIGHT, _MAX_BYTES // max(1, largest)))


def _size(path: ImagePath) -> int:
    try:
        return path.stat().st_size if isinstance(path, Path) else 0
    except OSError:  # a file that is gone is reported when its turn comes
        return 0


def _start(settings: Settings, flower: bool, output: RunOutput, until_done: ExitStack) -> Stack:
    """Start a stack, which `until_done` stops. A crash loop raises `CrashLoop` here, and interrupts the run later."""
    from maskq.workers.local.stack import running

    main = threading.main_thread().ident
    assert main is not None
    ready = threading.Event()

    def interrupt() -> None:
        if ready.is_set():  # before, `running` raises the error itself
            signal.pthread_kill(main, signal.SIGINT)

    def on_start(processes: tuple[str, ...]) -> None:
        output.describe(startup(processes))

    stack = until_done.enter_context(running(settings, flower=flower, on_start=on_start, on_crash_loop=interrupt))
    ready.set()
    if stack.supervisor.error:
        raise stack.supervisor.error
    until_done.callback(output.describe, "stopping workers …")
    if stack.flower_url:
        stderr.print(f"Flower: {stack.flower_url}")
    return stack
