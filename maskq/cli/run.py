"""`maskq run`: images in, masks out, with everything in between brought up and taken down."""

from __future__ import annotations

import json
import signal
import threading
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from maskq.producer.client.client import Client
from maskq.producer.client.job import Result
from maskq.producer.client.paths import expand, result_names
from maskq.producer.schema import Options
from maskq.producer.settings import Settings
from maskq.segmentation.models.registry import find
from maskq.workers.local.stack import Stack, running

from .result_files import Summary, failure_kind, write_result
from .worker import given

#: Images on their way at most: several batches for a GPU, which else would wait for the client. Results wait unread
#: behind the one that is written, and images until they are run, all of it in Redis: of files that would come to more
#: bytes than these, fewer are on their way, but as many as a client sends unless told otherwise.
_IN_FLIGHT, _BYTES, _AT_LEAST = 128, 1 << 30, 32


def run(
    paths: list[str],
    out: Path,
    model: str,
    options: dict[str, Any],
    settings: dict[str, Any],
    flower: bool,
    as_json: bool,
) -> int:
    """Segment every image; 1 if one failed, 130 if it was interrupted."""
    chosen = given(settings)
    images = expand(paths)
    if chosen.broker_url is None:
        find(model, chosen.model_folders)  # an unknown model is told before anything starts
    asked = {"model": model, "options": Options(**options)}
    console = Console(stderr=True, highlight=False)
    summary = Summary(images=len(images))
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    interrupted = False
    try:
        _segment(images, out, asked, chosen, flower, summary, console, as_json)
    except KeyboardInterrupt:
        interrupted = True
    summary.seconds = time.monotonic() - began
    summary.write(out)
    _report(summary, out, console, as_json, interrupted)
    return 130 if interrupted else 1 if summary.failures else 0


def _segment(
    images: list[Path],
    out: Path,
    asked: dict[str, Any],
    settings: Settings,
    flower: bool,
    summary: Summary,
    console: Console,
    as_json: bool,
) -> None:
    """Run the images through the stack and write what comes; `summary` tells how far it came."""
    with ExitStack() as until_done:
        stack = _start(settings, flower, console, until_done) if settings.broker_url is None else None
        client = until_done.enter_context(Client(settings=stack.settings if stack else settings))
        client.check()
        progress = until_done.enter_context(_progress(console, as_json))
        bar = progress.add_task("segmenting", total=len(images))
        named = result_names(images)
        most = in_flight(images)
        outcomes = until_done.enter_context(closing(client.map(images, in_flight=most, errors="return", **asked)))
        try:
            for path, outcome in zip(images, outcomes, strict=True):
                _take(path, outcome, out / named[path], summary, progress.console, as_json)
                progress.advance(bar)
        except KeyboardInterrupt:
            if stack and stack.supervisor.error:
                raise stack.supervisor.error from None
            raise


def in_flight(images: list[Path]) -> int:
    """How many of these images are on their way at most."""
    largest = max(map(_size, images))
    return max(_AT_LEAST, min(_IN_FLIGHT, _BYTES // max(1, largest)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it is gone, and told when its turn comes
        return 0


def _start(settings: Settings, flower: bool, console: Console, until_done: ExitStack) -> Stack:
    """The embedded stack, up and ready; a process that keeps dying interrupts the run."""
    main = threading.main_thread().ident
    assert main is not None
    give_up = partial(signal.pthread_kill, main, signal.SIGINT)
    with console.status("starting redis, workers …"):
        stack = until_done.enter_context(running(settings, flower=flower, on_crash_loop=give_up))
    if stack.flower_url:
        console.print(f"Flower: {stack.flower_url}")
    return stack


def _take(
    path: Path, outcome: Result | Exception, target: Path, summary: Summary, console: Console, as_json: bool
) -> None:
    """Write one image's result, or note why there is none."""
    if isinstance(outcome, Exception):
        kind = failure_kind(outcome)
        summary.add_failure(path, kind, str(outcome))
        if as_json:
            print(json.dumps({"image": str(path), "error": {"type": kind, "message": str(outcome)}}), flush=True)
        console.print(f"[red]{kind}[/] {escape(str(outcome))}")
        return
    overlay = write_result(outcome, path.read_bytes(), target.parent, target.name)
    summary.done += 1
    summary.objects += len(outcome.objects)
    if as_json:
        line = {"image": str(path), "objects": len(outcome.objects), "overlay": str(overlay)}
        print(json.dumps(line | {"timings": outcome.job.timings}), flush=True)


def _progress(console: Console, as_json: bool) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=console, disable=as_json)


class _Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} images/s", style="progress.data.speed")


def _report(summary: Summary, out: Path, console: Console, as_json: bool, interrupted: bool) -> None:
    """The last words: what was done, and where it is."""
    if as_json:
        print(json.dumps(summary.as_dict()), flush=True)
        return
    if interrupted:
        console.print(f"[yellow]stopped[/]: {summary.done} of {summary.images} images were finished")
    table = Table("images", "done", "failed", "objects", "seconds", "images/s", "overlays")
    told = (summary.images, summary.done, len(summary.failures), summary.objects)
    speed = (f"{summary.seconds:.1f}", f"{summary.images_per_second:.2f}")
    table.add_row(*map(str, told), *speed, str(out / "*.overlay.png"))
    console.print(table)
