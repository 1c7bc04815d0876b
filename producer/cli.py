"""The command line. Here stand the commands, their options and their help; what they do is imported when they run.

So `maskq submit` needs no torch, and `maskq --help` is there at once.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from .contract import readable
from .settings import Settings

app = typer.Typer(
    name="maskq",
    help="Queue images, get instance masks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
worker = typer.Typer(help="Run workers by themselves, as in a container.", no_args_is_help=True)
app.add_typer(worker, name="worker")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, for machines.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Which model: see `maskq models`.")]
Devices = Annotated[
    str | None, typer.Option("--devices", help="cpu, cuda:0, cuda:0=on,cuda:1=off …; default MASKQ_DEVICES, or auto.")
]
Processes = Annotated[
    int | None, typer.Option("--cluster-processes", min=1, help="Processes that cluster; default half the cores.")
]
Paths = Annotated[list[str], typer.Argument(help="Image files, folders and globs.", metavar="PATH...")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder for labels, objects and overlays.")]
Priority = Annotated[int, typer.Option("--priority", "-p", min=0, max=9, help="9 goes first.")]
JobIds = Annotated[list[str], typer.Argument(help="Job ids, as `maskq submit` prints them.", metavar="JOB...")]
SeedThreshold = Annotated[
    float | None, typer.Option(min=0.5, max=1, help="Seediness below which nothing becomes an object's seed.")
]
MinPixels = Annotated[int | None, typer.Option(min=0, help="Objects have more pixels than this.")]


@app.command()
def run(
    paths: Paths,
    out: Out,
    model: Model = "nuclei",
    devices: Devices = None,
    cluster_processes: Processes = None,
    seed_threshold: SeedThreshold = None,
    min_pixels: MinPixels = None,
    flower: Annotated[bool, typer.Option("--flower", help="Watch it in Flower; its address is printed.")] = False,
    json: Json = False,
) -> None:
    """Segment images, end to end: bring up what is needed, write masks, take it down.

    With MASKQ_BROKER_URL set, the jobs go to the workers there. Exit status 1 if any image failed.
    """
    _call(
        "workers.run",
        "run",
        paths=paths,
        out=out,
        model=model,
        options={"seed_threshold": seed_threshold, "min_pixels": min_pixels},
        settings={"devices": devices, "cluster_processes": cluster_processes},
        flower=flower,
        as_json=json,
    )


@app.command()
def up(devices: Devices = None, cluster_processes: Processes = None) -> None:
    """Bring the whole stack up and keep it up, Flower included, until Ctrl-C.

    Jobs and results are kept on disk from one `up` to the next. Other terminals' `maskq submit` finds it by itself.
    """
    _call("workers.up", "up", settings={"devices": devices, "cluster_processes": cluster_processes})


@app.command()
def submit(
    paths: Paths,
    model: Model = "nuclei",
    priority: Priority = 5,
    seed_threshold: SeedThreshold = None,
    min_pixels: MinPixels = None,
    json: Json = False,
) -> None:
    """Queue images and print their jobs' ids."""
    _call(
        "producer.commands",
        "submit",
        paths=paths,
        model=model,
        priority=priority,
        options={"seed_threshold": seed_threshold, "min_pixels": min_pixels},
        as_json=json,
    )


@app.command()
def status(jobs: JobIds, json: Json = False) -> None:
    """Where jobs are. Exit status 1 if any has ended without a result."""
    _call("producer.commands", "status", jobs=jobs, as_json=json)


@app.command()
def result(
    jobs: JobIds,
    out: Out,
    wait: Annotated[float, typer.Option(min=0, help="Wait this many seconds for jobs that are not done.")] = 0,
    json: Json = False,
) -> None:
    """Write the masks of finished jobs to a folder, as `maskq run` does."""
    _call("tasks.commands", "result", jobs=jobs, out=out, wait_s=wait, as_json=json)


@app.command()
def cancel(jobs: JobIds, json: Json = False) -> None:
    """Cancel jobs that have not ended."""
    _call("producer.commands", "cancel", jobs=jobs, as_json=json)


@app.command()
def models(json: Json = False) -> None:
    """List the models that there are."""
    _call("segmentation.commands.models", "models", folders=_model_folders(), as_json=json)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Argument(help="A folder with images/ and labels/, and index.csv for splits.")],
    model: Model = "nuclei",
    split: Annotated[str | None, typer.Option(help="Only this split of index.csv.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Set beside the model: otsu (threshold and watershed).")] = None,
    json: Json = False,
) -> None:
    """Measure a model on labelled images: AP at IoU .5 to .95, pooled and as the mean over images."""
    _call(
        "segmentation.commands.evaluate",
        "evaluate",
        data=data,
        model=model,
        folders=_model_folders(),
        split=split,
        baseline=baseline,
        as_json=json,
    )


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="A folder with images/ and labels/, and index.csv for splits.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The new model's name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder in which the model's folder is made.")],
    split: Annotated[str | None, typer.Option(help="Train on this split of index.csv.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser, 8 crops each.")] = 5000,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
) -> None:
    """Train a model on labelled images; started again, it goes on where it was stopped."""
    _call(
        "segmentation.commands.train",
        "train",
        data=data,
        name=model,
        out=out,
        split=split,
        steps=steps,
        device=device,
        seed=seed,
    )


@worker.command("device")
def worker_device(devices: Devices = None) -> None:
    """One process per device, restarted when it dies, until SIGTERM."""
    _call("workers.commands", "device", settings={"devices": devices})


@worker.command("cluster")
def worker_cluster() -> None:
    """The CPU worker: MASKQ_CLUSTER_PROCESSES processes, until SIGTERM."""
    _call("workers.commands", "cluster")


@worker.command("flower")
def worker_flower(
    address: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 5555,
) -> None:
    """Flower on the broker, read-only."""
    _call("workers.commands", "flower", address=address, port=port)


def _call(module: str, function: str, **arguments: Any) -> None:
    """Import what does the work and leave with its exit status; errors that have a type become one line."""
    try:
        implementation = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        _fail(f"this command needs {error.name}: install maskq[worker]", 2)
    try:
        raise typer.Exit(implementation(**arguments))
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except ValidationError as error:  # a setting's or an option's value
        _fail(readable(error), 2)
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("producer", "segmentation", "tasks", "workers"):
            raise
        _fail(str(error), 2)


def _model_folders() -> tuple[Path, ...]:
    """Where a user's own models are."""
    try:
        return Settings().model_folders
    except ValidationError as error:
        _fail(readable(error), 2)


def _fail(message: str, status: int) -> NoReturn:
    print(f"maskq: {message}", file=sys.stderr)
    raise typer.Exit(status)


def main() -> None:
    """The entry point `maskq`."""
    app()
