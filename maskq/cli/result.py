"""`maskq result`."""

from __future__ import annotations

import time
from contextlib import nullcontext
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskq.producer.client.job import Job, Result
from maskq.producer.client.paths import result_names, without_part
from maskq.producer.errors import JobUnfinished, PayloadMissing, ResultNotReady, UnknownJob, WaitTimeout

from .jobs import connect
from .options import DEFAULT_FORMATS, FormatNames, JobIds, Json, Out, Simplify
from .terminal import UNPRINTABLE, print_error
from .worker_watch import WorkerWatch

if TYPE_CHECKING:
    from .result_files import ResultFolder, Summary

app = typer.Typer()


@app.command()
def result(
    jobs: JobIds,
    out: Out,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for unfinished jobs.")] = 0,
    format_names: FormatNames = DEFAULT_FORMATS,
    simplify: Simplify = 0,
    as_json: Json = False,
) -> int:
    """Write the results of jobs to a folder, as `maskq run` does. Exit status 1 if a job has no result."""
    from maskq.producer.formats.registry import select

    from .notes import Notes
    from .result_files import ResultFolder, Summary

    files = ResultFolder(out, select(format_names), simplify)
    began = time.monotonic()
    summary, notes = Summary(images=len(jobs)), Notes()
    ready: list[tuple[Job, Result]] = []
    with connect() as client, WorkerWatch(client) if wait else nullcontext():
        for job in map(client.job, dict.fromkeys(jobs)):
            try:
                remaining = max(0.0, wait - (time.monotonic() - began))
                ready.append((job, job.wait(remaining) if wait else job.result()))
            except (JobUnfinished, ResultNotReady, UnknownJob, WaitTimeout) as error:
                _add_failure(summary, job, error)
        names = (UNPRINTABLE.sub("_", Path(without_part(done.job.spec.name)).name) or "image" for _, done in ready)
        paths = result_names(Path(job.id) / name for (job, _), name in zip(ready, names, strict=True))
        with files:
            for (job, done), name in zip(ready, paths.values(), strict=True):
                _write(job, done, files, name, summary, as_json)
                notes.add(done.job.spec.name, done)
    summary.seconds = time.monotonic() - began
    summary.write(out)
    if not as_json:
        notes.show()
    return 1 if summary.failures else 0


def _write(job: Job, done: Result, files: ResultFolder, name: str, summary: Summary, as_json: bool) -> None:
    from .result_files import json_entry

    try:
        image = job.image() if files.needs_image else b""
    except PayloadMissing as error:
        _add_failure(summary, job, error)
        return
    paths, refusal = files.write(done, image, name)
    summary.add_result(done)
    if refusal:
        _add_failure(summary, job, refusal)
    if as_json:
        print(dumps({"job_id": job.id} | json_entry(done, paths)), flush=True)
    elif paths:
        print(f"{list(paths.values())[-1]}  {done.count} objects", flush=True)


def _add_failure(summary: Summary, job: Job, error: Exception) -> None:
    from .result_files import failure_kind

    summary.add_failure(Path(job.id), failure_kind(error), str(error))
    print_error(f"{job.id}: {error}")
