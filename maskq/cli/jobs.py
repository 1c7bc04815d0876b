"""`maskq submit`, `status` and `cancel`."""

from collections.abc import Callable
from contextlib import closing
from json import dumps
from typing import Annotated, TypeVar

import typer

from maskq.producer.client.client import Client
from maskq.producer.client.paths import expand
from maskq.producer.errors import InvalidJob, QueueFull, StoreFull, UnknownJob
from maskq.producer.schema import JobStatus, Options, State

from .job_options import with_job_options
from .options import JobIds, Json, Model, Paths, Priority, Recursive
from .terminal import PlainTable, print_error, show_skipped, stdout

T = TypeVar("T")

app = typer.Typer()


def connect() -> Client:
    """A client whose broker answers. Raises `InvalidJob` if no broker is configured, and `BrokerUnavailable`."""
    client = Client()
    client.check()
    return client


@app.command()
@with_job_options
def submit(
    paths: Paths,
    options: Options,
    model: Model = "nuclei",
    priority: Priority = 5,
    owner: Annotated[str, typer.Option("--client", help="The jobs' owner: owners take turns.")] = "",
    key: Annotated[str | None, typer.Option(help="The job's name: the same name returns the same job.")] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse/--no-reuse", help="Compute equal jobs of one client only once.")
    ] = True,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for room in a full queue.")] = 60,
    recursive: Recursive = False,
    as_json: Json = False,
) -> int:
    """Queue images and print the ids of their jobs. Exit status 1 if an image could not be queued."""
    failed = 0
    images = expand(paths, recursive=recursive)
    if key is not None and len(images) > 1:
        raise InvalidJob(f"--key is the name of one job, and here are {len(images)} images: submit them one by one")
    show_skipped(paths, recursive=recursive)
    with (
        connect() as client,
        closing(
            client.submit_many(
                images,
                errors="return",
                model=model,
                priority=priority,
                client=owner,
                options=options,
                idempotency_key=key,
                reuse=None if reuse else False,
                timeout=wait,
            )
        ) as jobs,
    ):
        for path, job in zip(images, jobs, strict=True):
            if isinstance(job, QueueFull | StoreFull):
                raise job
            if isinstance(job, Exception):
                failed = 1
                print_error(f"{path}: {job}")
            else:
                print(dumps({"job_id": job.id, "image": str(path)}) if as_json else job.id, flush=True)
    return failed


@app.command()
def status(jobs: JobIds, as_json: Json = False) -> int:
    """Show the state of jobs. Exit status 1 if one ended without a result, or is unknown."""
    failed = 0
    table = PlainTable("job", "image", "model", "state", "seconds", "error", whole="job")
    with connect() as client:
        for job_id in jobs:
            if (job := _unless_unknown(client.job(job_id).status)) is None:
                failed = 1
                continue
            failed |= job.state.ended and job.state is not State.DONE
            if as_json:
                print(dumps(job.model_dump(mode="json") | {"timings": job.timings}), flush=True)
            else:
                table.add_row(*_row(job))
    if table.row_count:
        stdout.show(table)
    return failed


def _row(job: JobStatus) -> list[str]:
    error = f"{job.error.type}: {job.error.message}" if job.error else ""
    state = f"{job.state}, {job.planes.done} of {job.planes.total} planes" if job.planes else job.state
    return [job.id, job.spec.name, job.spec.model, state, f"{job.timings['total']:.2f}", error]


@app.command()
def cancel(jobs: JobIds, as_json: Json = False) -> int:
    """Cancel jobs. Exit status 1 if one had ended before, or is unknown."""
    failed = 0
    with connect() as client:
        for job_id in jobs:
            if (state := _unless_unknown(client.job(job_id).cancel)) is None:
                failed = 1
                continue
            failed |= state is not State.CANCELLED
            print(dumps({"job_id": job_id, "state": state}) if as_json else f"{job_id} {state}", flush=True)
    return failed


def _unless_unknown(call: Callable[[], T]) -> T | None:
    """The call's value; None, and an error message, if the job is unknown."""
    try:
        return call()
    except UnknownJob as error:
        print_error(str(error))
        return None
