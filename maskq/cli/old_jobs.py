"""Images in, masks out: `maskq run`, `up`, `submit`, `status`, `result`, `cancel`."""

from __future__ import annotations

from typing import Annotated

import typer

from .calling import call
from .options import (
    Devices,
    Diameter,
    JobIds,
    Json,
    MinPixels,
    Model,
    Out,
    Paths,
    Priority,
    Processes,
    SeedThreshold,
    Tta,
)

app = typer.Typer()


@app.command()
def run(
    paths: Paths,
    out: Out,
    model: Model = "nuclei",
    devices: Devices = None,
    cluster_processes: Processes = None,
    seed_threshold: SeedThreshold = None,
    min_pixels: MinPixels = None,
    tta: Tta = False,
    diameter: Diameter = None,
    flower: Annotated[bool, typer.Option("--flower", help="Watch it in Flower; its address is printed.")] = False,
    json: Json = False,
) -> None:
    """Segment images, end to end: bring up what is needed, write masks, take it down.

    With MASKQ_BROKER_URL set, the jobs go to the workers there. Exit status 1 if any image failed.
    """
    call(
        "maskq.cli.run",
        "run",
        paths=paths,
        out=out,
        model=model,
        options={"seed_threshold": seed_threshold, "min_pixels": min_pixels, "tta": tta, "diameter": diameter},
        settings={"devices": devices, "cluster_processes": cluster_processes},
        flower=flower,
        as_json=json,
    )


@app.command()
def up(devices: Devices = None, cluster_processes: Processes = None) -> None:
    """Bring the whole stack up and keep it up, HTTP gateway and Flower included, until Ctrl-C.

    Jobs and results are kept on disk from one `up` to the next. Other terminals' `maskq submit` finds it by itself.
    """
    call("maskq.cli.up", "up", settings={"devices": devices, "cluster_processes": cluster_processes})


@app.command()
def submit(
    paths: Paths,
    model: Model = "nuclei",
    priority: Priority = 5,
    client: Annotated[str, typer.Option(help="Who asks: clients take turns.")] = "",
    key: Annotated[str | None, typer.Option(help="A name for the job: the same name gives the same job.")] = None,
    reuse: Annotated[bool, typer.Option("--reuse/--no-reuse", help="Take the result of a job like it.")] = True,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for room in a full queue.")] = 60,
    seed_threshold: SeedThreshold = None,
    min_pixels: MinPixels = None,
    tta: Tta = False,
    diameter: Diameter = None,
    json: Json = False,
) -> None:
    """Queue images and print their jobs' ids."""
    call(
        "maskq.cli.jobs",
        "submit",
        paths=paths,
        options={"seed_threshold": seed_threshold, "min_pixels": min_pixels, "tta": tta, "diameter": diameter},
        asked={
            "model": model,
            "priority": priority,
            "client": client,
            "idempotency_key": key,
            "reuse": None if reuse else False,
            "timeout": wait,
        },
        as_json=json,
    )


@app.command()
def status(jobs: JobIds, json: Json = False) -> None:
    """Where jobs are. Exit status 1 if any has ended without a result."""
    call("maskq.cli.jobs", "status", jobs=jobs, as_json=json)


@app.command()
def result(
    jobs: JobIds,
    out: Out,
    wait: Annotated[float, typer.Option(min=0, help="Wait this many seconds for jobs that are not done.")] = 0,
    json: Json = False,
) -> None:
    """Write the masks of finished jobs to a folder, as `maskq run` does."""
    call("maskq.cli.result", "result", jobs=jobs, out=out, wait_s=wait, as_json=json)


@app.command()
def cancel(jobs: JobIds, json: Json = False) -> None:
    """Cancel jobs that have not ended."""
    call("maskq.cli.jobs", "cancel", jobs=jobs, as_json=json)
