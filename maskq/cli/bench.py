"""`maskq bench`: measures how fast this machine segments images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import cycle
from json import dumps
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from maskq.producer.client.client import Client
from maskq.producer.client.job import Result
from maskq.producer.client.paths import expand

from .extras import STACK, require
from .options import Devices, Json, Model, Paths, Processes, read_settings
from .terminal import PlainTable, stderr
from .writable import output_file

if TYPE_CHECKING:
    from maskq.workers.device.spec import DeviceSpec

    from .timeline import Timeline

#: Images that are run before the measurement: models are loaded, kernels compiled, threads started.
_WARM_UP = 16
#: At most this many images are in flight, over all stages. A GPU gets several batches, because otherwise it waits for
#: the client; a CPU no more than it finishes soon, because images in flight at the deadline are finished first.
_IN_FLIGHT_GPU, _IN_FLIGHT_CPU = 256, 32

app = typer.Typer()


@app.command()
def bench(
    paths: Paths,
    model: Model = "nuclei",
    devices: Devices = None,
    cluster_processes: Processes = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long to run the images, again and again.")] = 20,
    trace: Annotated[
        Path | None,
        typer.Option(
            callback=output_file, help="Write a Chrome trace to this file, FILE.json, and a picture of it to FILE.png."
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Measure how fast this machine segments the images, stage by stage, in a stack started for it."""
    require(*STACK)
    from maskq.workers.device.spec import parse
    from maskq.workers.local.stack import running

    from .timeline import Timeline

    images = [Path(path).read_bytes() for path in expand(paths)]
    with tempfile.TemporaryDirectory(prefix="maskq-trace-") as folder:
        settings = read_settings(
            devices=devices, cluster_processes=cluster_processes, trace=folder if trace else None
        ).model_copy(update={"broker_url": None, "reuse": False})
        limit = in_flight(parse(settings.devices))
        with running(settings) as stack, Client(settings=stack.settings) as client:
            for _ in client.map([images[n % len(images)] for n in range(_WARM_UP)], model=model):
                pass
            began = time.monotonic()
            results = list(_results(client, images, model, limit, seconds, as_json))
            ended = time.monotonic()
        report = _measure(results, ended - began)
        if trace:
            report |= _write_trace(Timeline.read(Path(folder)).between(began, ended), trace)
    _print(report, as_json)
    return 0


def in_flight(devices: Iterable[DeviceSpec]) -> int:
    """The largest number of images in flight for a stack with these devices."""
    return _IN_FLIGHT_GPU if any(spec.is_gpu for spec in devices) else _IN_FLIGHT_CPU


def _results(
    client: Client, images: list[bytes], model: str, limit: int, seconds: float, as_json: bool
) -> Iterator[Result]:
    """The results of the images, submitted again and again for `seconds`, at most `limit` in flight."""
    deadline = time.monotonic() + seconds

    def until_deadline() -> Iterator[bytes]:
        for image in cycle(images):
            if time.monotonic() > deadline:
                return
            yield image

    columns = (BarColumn(), TextColumn("{task.completed} images"))
    with Progress(*columns, console=stderr, disable=as_json, transient=True) as progress:
        bar = progress.add_task("", total=None)
        for result in client.map(until_deadline(), in_flight=limit, model=model):
            progress.advance(bar)
            yield result


def _measure(results: list[Result], seconds: float) -> dict[str, Any]:
    """Images per second, and the median seconds that a job spent in each state."""
    states = results[0].job.timings
    return {
        "images": len(results),
        "seconds": round(seconds, 3),
        "images_per_second": round(len(results) / seconds, 3),
        "median_s": {state: round(median(result.job.timings[state] for result in results), 6) for state in states},
    }


def _write_trace(timeline: Timeline, path: Path) -> dict[str, Any]:
    """Write the trace and its picture; returns how busy the device was, and the seconds of all threads by activity."""
    timeline.write(path)
    timeline.draw(path.with_suffix(".png"))
    totals = {name: round(value, 3) for name, value in sorted(timeline.seconds().items())}
    return {"device_busy": round(timeline.busy(), 4), "thread_seconds": totals, "trace": str(path)}


def _print(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(dumps(report), flush=True)
        return
    table = PlainTable("images", "seconds", "images/s", *(f"{state}, ms" for state in report["median_s"]))
    medians = (f"{1000 * value:.1f}" for value in report["median_s"].values())
    table.add_row(str(report["images"]), f"{report['seconds']:.1f}", f"{report['images_per_second']:.2f}", *medians)
    stderr.show(table)
    if "trace" in report:
        picture = Path(report["trace"]).with_suffix(".png")
        stderr.print(f"the device was busy {report['device_busy']:.1%} of the time: {report['trace']}, {picture}")
