"""`maskq bench`: how fast this machine segments these images, and what its processes do meanwhile."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from maskq.producer.client.client import Client
from maskq.producer.client.job import Result
from maskq.producer.client.paths import expand
from maskq.workers.device.spec import DeviceSpec, parse
from maskq.workers.local.stack import running

from .timeline import Timeline
from .worker import given

#: Images that are run before the clock starts: models are loaded, kernels compiled, threads started.
_WARM_UP = 16
#: Images on their way, in all stages, at most: several batches for a GPU, which else would wait for the client; and no
#: more for a CPU than it does soon, since those on their way when the time is over are finished first.
_FOR_A_GPU, _FOR_A_CPU = 256, 32


def bench(
    paths: list[str], model: str, settings: dict[str, Any], seconds: float, trace: Path | None, as_json: bool
) -> int:
    """Run the images over and over for `seconds`; report, and with `trace` write what was done when."""
    images = [path.read_bytes() for path in expand(paths)]
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="maskq-trace-") as folder:
        chosen = given({**settings, "trace": folder if trace else None}).model_copy(
            update={"broker_url": None, "reuse": False}
        )
        most = in_flight(parse(chosen.devices))
        with running(chosen) as stack, Client(settings=stack.settings) as client:
            for _ in client.map([images[n % len(images)] for n in range(_WARM_UP)], model=model):
                pass
            began = time.monotonic()
            results = list(_results(client, images, model, most, seconds, console, as_json))
            ended = time.monotonic()
        report = _measured(results, ended - began)
        if trace:
            report |= _traced(Timeline.read(Path(folder)).between(began, ended), trace)
    _tell(report, console, as_json)
    return 0


def in_flight(devices: Iterable[DeviceSpec]) -> int:
    """How many images are on their way at most, through a stack with these devices."""
    return _FOR_A_GPU if any(spec.index for spec in devices) else _FOR_A_CPU


def _results(
    client: Client, images: list[bytes], model: str, most: int, seconds: float, console: Console, as_json: bool
) -> Iterator[Result]:
    """The results of the images, over and over, until the time is over; at most so many are on their way."""
    over = time.monotonic() + seconds

    def until_over() -> Iterator[bytes]:
        for image in cycle(images):
            if time.monotonic() > over:
                return
            yield image

    columns = (BarColumn(), TextColumn("{task.completed} images"))
    with Progress(*columns, console=console, disable=as_json, transient=True) as progress:
        bar = progress.add_task("", total=None)
        for result in client.map(until_over(), in_flight=most, model=model):
            progress.advance(bar)
            yield result


def _measured(results: list[Result], seconds: float) -> dict[str, Any]:
    """Images per second, and the median seconds that a job spent in each state."""
    states = results[0].job.timings
    return {
        "images": len(results),
        "seconds": round(seconds, 3),
        "images_per_second": round(len(results) / seconds, 3),
        "median_s": {state: round(median(one.job.timings[state] for one in results), 6) for state in states},
    }


def _traced(timeline: Timeline, path: Path) -> dict[str, Any]:
    """Write the trace and its picture; how busy the device was, and the seconds of all threads by what was done."""
    timeline.write(path)
    timeline.draw(path.with_suffix(".png"))
    spent = {name: round(value, 3) for name, value in sorted(timeline.seconds().items())}
    return {"device_busy": round(timeline.busy(), 4), "thread_seconds": spent, "trace": str(path)}


def _tell(report: dict[str, Any], console: Console, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report), flush=True)
        return
    table = Table("images", "seconds", "images/s", *(f"{state}, ms" for state in report["median_s"]))
    spent = (f"{1000 * value:.1f}" for value in report["median_s"].values())
    table.add_row(str(report["images"]), f"{report['seconds']:.1f}", f"{report['images_per_second']:.2f}", *spent)
    console.print(table)
    if "trace" in report:
        picture = Path(report["trace"]).with_suffix(".png")
        console.print(f"the device was busy {report['device_busy']:.1%} of the time: {report['trace']}, {picture}")
