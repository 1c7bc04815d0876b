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
models = typer.Typer(help="The models that jobs can name: list, show, check and import them.")
app.add_typer(models, name="models")
dead = typer.Typer(no_args_is_help=True, help="Dead letters: jobs that were tried as often as is allowed.")
app.add_typer(dead, name="dead")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, for machines.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Which model: see `maskq models`.")]
Devices = Annotated[
    str | None, typer.Option("--devices", help="cpu, cuda, cuda:0=on,cuda:1=auto …; default MASKQ_DEVICES, or auto.")
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
Tta = Annotated[bool, typer.Option("--tta", help="Show the network all eight turns and flips: eight times the work.")]
Diameter = Annotated[
    float | None, typer.Option(min=0.1, help="The objects' usual diameter, pixels: sees them as large as learnt.")
]


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
    _call(
        "workers.run",
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
    """Bring the whole stack up and keep it up, Flower included, until Ctrl-C.

    Jobs and results are kept on disk from one `up` to the next. Other terminals' `maskq submit` finds it by itself.
    """
    _call("workers.up", "up", settings={"devices": devices, "cluster_processes": cluster_processes})


@app.command()
def devices(devices: Devices = None, json: Json = False) -> None:
    """Show the CPU and GPUs that are here, and the processes that MASKQ_DEVICES makes of them."""
    _call("workers.commands", "devices", settings={"devices": devices}, as_json=json)


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
    _call(
        "producer.commands",
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
def stats(
    json: Json = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Print Prometheus' text format.")] = False,
) -> None:
    """What waits, what is worked on, and what every device has done: batches, cudnn searches, seconds."""
    _call("producer.operations", "stats", as_json=json, metrics=metrics)


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
    _call(
        "workers.bench",
        "bench",
        paths=paths,
        model=model,
        settings={"devices": devices, "cluster_processes": cluster_processes},
        seconds=seconds,
        trace=trace,
        as_json=json,
    )


Reason = Annotated[str | None, typer.Option(help="Only those whose error has these words.")]
Older = Annotated[float | None, typer.Option(min=0, help="Only those that died this many seconds ago or earlier.")]
Every = Annotated[bool, typer.Option("--all", help="All of them.")]
Letters = Annotated[list[str] | None, typer.Argument(metavar="JOB...", show_default=False, help="Jobs' ids.")]


def _dead(do: str, jobs: list[str] | None, reason: str | None, older: float | None, every: bool, json: bool) -> None:
    _call(
        "producer.operations",
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


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False, json: Json = False
) -> None:
    """Drop what no job needs any more. Workers do so too, all the time."""
    _call("producer.operations", "gc", dry_run=dry_run, as_json=json)


@models.callback(invoke_without_command=True)
def models_(context: typer.Context, json: Json = False) -> None:
    """The models that jobs can name: list, show, check and import them."""
    if context.invoked_subcommand is None:
        models_list(json)


@models.command("list")
def models_list(json: Json = False) -> None:
    """List every version of every model; one that is broken is shown with its reason."""
    _call("segmentation.commands.models", "list_", folders=_model_folders(), as_json=json)


@models.command("show")
def models_show(
    name: Annotated[str, typer.Argument(help="nuclei, its newest version, or nuclei@3.")], json: Json = False
) -> None:
    """Show all that a model says of itself: its parameters, provenance, licence and card."""
    _call("segmentation.commands.models", "show", name=name, folders=_model_folders(), as_json=json)


@models.command("check")
def models_check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or folders; without any, all.", metavar="[MODEL...]")
    ] = None,
    json: Json = False,
) -> None:
    """Check that models are whole and run: sha256, entries, a small forward. Exit status 1 if any is not."""
    _call("segmentation.commands.models", "check", models=names or [], folders=_model_folders(), as_json=json)


@models.command("import")
def models_import(
    file: Annotated[Path, typer.Argument(help="A published checkpoint, or a program that torch.export saved: .pt2.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The new model's name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder in which NAME/VERSION is made.")],
    version: Annotated[int, typer.Option(min=1, help="Its version.")] = 1,
    unit: Annotated[
        float | None, typer.Option(help="Pixels per unit of its grid; default that of the published ones, 1,023.")
    ] = None,
    normalisation: Annotated[
        str | None, typer.Option(help="unit (the type's range to 0..1; default with 3 channels) or percentile.")
    ] = None,
    seed_threshold: SeedThreshold = None,
    min_pixels: MinPixels = None,
    min_unclustered: Annotated[
        int | None, typer.Option(min=0, help="Clustering ends when no more foreground pixels than this are left.")
    ] = None,
    halo: Annotated[int | None, typer.Option(min=0, help="How far around a pixel a program looks, pixels.")] = None,
    scale: Annotated[float | None, typer.Option(help="Resize images by this.")] = None,
    diameter: Annotated[float | None, typer.Option(help="The training objects' median diameter, pixels.")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="The training images' pixel, micrometres.")] = None,
    summary: Annotated[str, typer.Option(help="What it is for.")] = "",
    licence: Annotated[str, typer.Option(help="The weights' licence.")] = "",
    trained_on: Annotated[str, typer.Option(help="What it was trained on.")] = "",
) -> None:
    """Make a model's folder of a network from elsewhere, and check it. No code in a checkpoint is run."""
    given = {
        "name": model,
        "version": version,
        "unit": unit,
        "normalisation": normalisation,
        "seed_threshold": seed_threshold,
        "min_pixels": min_pixels,
        "min_unclustered": min_unclustered,
        "halo": halo,
        "scale": scale,
        "diameter": diameter,
        "pixel_size": pixel_size,
        "summary": summary,
        "licence": licence,
        "trained_on": trained_on,
    }
    _call("segmentation.commands.importing", "import_", file=file, out=out, given=given)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Argument(help="A folder with images/ and labels/, and index.csv for splits.")],
    model: Model = "nuclei",
    split: Annotated[str | None, typer.Option(help="Only this split of index.csv.")] = None,
    index: Annotated[
        Path | None, typer.Option(help="The CSV file of splits (columns id, split); default DATA/index.csv.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Set beside the model: otsu (threshold and watershed).")] = None,
    tta: Tta = False,
    diameter: Diameter = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Choose seed_threshold and min_pixels on this data; store them in the model.")
    ] = False,
    pictures: Annotated[Path | None, typer.Option(help="A folder for pictures of the worst images' errors.")] = None,
    worst: Annotated[int, typer.Option(min=1, help="How many images to picture.")] = 10,
    every: Annotated[bool, typer.Option("--all", help="Show every image, not the worst ten.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json: Json = False,
) -> None:
    """Measure a model on labelled images: AP at IoU .5 to .95, pooled and as the mean over images, image by image."""
    settings = _settings()
    _call(
        "segmentation.commands.evaluate",
        "evaluate",
        data=data,
        model=model,
        folders=settings.model_folders,
        split=split,
        index=index,
        baseline=baseline,
        tta=tta,
        diameter=diameter,
        tune=tune,
        pictures=pictures,
        worst=worst,
        every=every,
        device=device,
        as_json=json,
        tile_pixels=settings.tile_pixels,
        max_pixels=settings.max_pixels,
    )


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="A folder with images/ and labels/, and perhaps index.csv.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The new model's name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder in which the model's folder is made.")] = Path(
        "models"
    ),
    index: Annotated[
        Path | None,
        typer.Option(help="Columns id and split (train, val); default DATA/index.csv, else every fifth is val."),
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="Begin with this model's weights.")] = None,
    scale: Annotated[float | None, typer.Option(min=0.0625, max=16, help="Resize images by this.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 5000,
    batch: Annotated[int, typer.Option(min=1, help="Crops per step.")] = 8,
    crop: Annotated[int, typer.Option(min=32, help="Sides of a crop, pixels; a multiple of 8.")] = 160,
    rate: Annotated[float, typer.Option(min=0, help="Adam's rate at the start; it falls to 0.")] = 1e-3,
    every: Annotated[int, typer.Option(min=1, help="Validate and write a checkpoint every so many steps.")] = 250,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile: a minute to start, then faster.")] = False,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
) -> None:
    """Train a model on labelled images; started again, it goes on where it was stopped.

    OUT/MODEL gets the weights that did best on the images held out, and training/curves.png shows how it goes.
    """
    _call(
        "segmentation.commands.train",
        "train",
        data=data,
        name=model,
        out=out,
        index=index,
        start=start,
        folders=_model_folders(),
        scale=scale,
        schedule={"steps": steps, "batch": batch, "crop": crop, "rate": rate, "seed": seed},
        every=every,
        device=device,
        compiled=compiled,
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


def _settings() -> Settings:
    """The settings; one that is invalid ends the command."""
    try:
        return Settings()
    except ValidationError as error:
        _fail(readable(error), 2)


def _model_folders() -> tuple[str, ...]:
    """Where a user's own models are."""
    return _settings().model_folders


def _fail(message: str, status: int) -> NoReturn:
    print(f"maskq: {message}", file=sys.stderr)
    raise typer.Exit(status)


def main() -> None:
    """The entry point `maskq`."""
    app()
