"""For who keeps it running: `maskq serve`, `devices`, `stats`, `bench`, `gc`, `dead …` and `worker …`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .calling import call, fail
from .options import Devices, Json, Model, Paths, Processes

app = typer.Typer()
worker = typer.Typer(help="Run workers by themselves, as in a container.", no_args_is_help=True)
dead = typer.Typer(no_args_is_help=True, help="Dead letters: jobs that were tried as often as is allowed.")

Reason = Annotated[str | None, typer.Option(help="Only those whose error has these words.")]
Older = Annotated[float | None, typer.Option(min=0, help="Only those that died this many seconds ago or earlier.")]
Every = Annotated[bool, typer.Option("--all", help="All of them.")]
Letters = Annotated[list[str] | None, typer.Argument(metavar="JOB...", show_default=False, help="Jobs' ids.")]


_Address = Annotated[str, typer.Option(help="The address to listen on.")]


@app.command()
def serve(
    address: _Address = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 takes a free one.")] = 8000,
) -> None:
    """The HTTP gateway: images in, masks out, until SIGTERM. Its OpenAPI page is at /docs."""
    for needed in ("fastapi", "python_multipart", "uvicorn"):
        if not find_spec(needed):
            fail(f"this command needs {needed}: pip install 'maskq[gateway]' (or, in a checkout, '.[gateway]')", 2)
    call("maskq.producer.gateway.server", "serve", address=address, port=port)


@app.command()
def devices(devices: Devices = None, json: Json = False) -> None:
    """Show the CPU and GPUs that are here, and the processes that MASKQ_DEVICES makes of them."""
    call("maskq.cli.worker", "devices", settings={"devices": devices}, as_json=json)


@app.command()
def stats(
    json: Json = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Print Prometheus' text format.")] = False,
) -> None:
    """What waits, what is worked on, and what every device has done: batches, cudnn searches, seconds."""
    call("maskq.cli.admin", "stats", as_json=json, metrics=metrics)


@app.command()
def bench(
    paths: Paths,
    model: Model = "nuclei",
    devices: Devices = None,
    cluster_processes: Processes = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long to run them, over and over.")] = 20,
    trace: Annotated[
        Path | None, typer.Option(help="Write a Chrome trace here, and a picture of it beside: FILE.json, FILE.png.")
    ] = None,
    json: Json = False,
) -> None:
    """How fast this machine segments these images, stage by stage, in a stack of its own."""
    call(
        "maskq.cli.bench",
        "bench",
        paths=paths,
        model=model,
        settings={"devices": devices, "cluster_processes": cluster_processes},
        seconds=seconds,
        trace=trace,
        as_json=json,
    )


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False, json: Json = False
) -> None:
    """Drop what no job needs any more. Workers do so too, all the time."""
    call("maskq.cli.admin", "gc", dry_run=dry_run, as_json=json)


def _dead(do: str, jobs: list[str] | None, reason: str | None, older: float | None, every: bool, json: bool) -> None:
    call(
        "maskq.cli.admin",
        "dead",
        do=do,
        jobs=jobs or [],
        reason=reason,
        older_s=older,
        every=every,
        as_json=json,
    )


@dead.command("list")
def dead_list(reason: Reason = None, older: Older = None, json: Json = False) -> None:
    """The jobs that were tried as often as is allowed."""
    _dead("list", None, reason, older, True, json)


@dead.command("show")
def dead_show(jobs: Letters = None, reason: Reason = None, older: Older = None, json: Json = False) -> None:
    """The same, with the story of each: which worker, which error, when."""
    _dead("show", jobs, reason, older, True, json)


@dead.command("requeue")
def dead_requeue(
    jobs: Letters = None, reason: Reason = None, older: Older = None, every: Every = False, json: Json = False
) -> None:
    """Try them again, from the stage they died in."""
    _dead("requeue", jobs, reason, older, every, json)


@dead.command("drop")
def dead_drop(
    jobs: Letters = None, reason: Reason = None, older: Older = None, every: Every = False, json: Json = False
) -> None:
    """Forget them, and drop their images."""
    _dead("drop", jobs, reason, older, every, json)


@worker.command("device")
def worker_device(devices: Devices = None) -> None:
    """One process per device, restarted when it dies, until SIGTERM."""
    call("maskq.cli.worker", "device", settings={"devices": devices})


@worker.command("cluster")
def worker_cluster() -> None:
    """The CPU worker: MASKQ_CLUSTER_PROCESSES processes, until SIGTERM."""
    call("maskq.cli.worker", "cluster")


@worker.command("flower")
def worker_flower(
    address: _Address = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 5555,
) -> None:
    """Flower on the broker, read-only."""
    call("maskq.cli.worker", "flower", address=address, port=port)
