"""`maskq result`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskq.producer.client.client import Client
from maskq.producer.client.job import Job, Result
from maskq.producer.client.paths import result_names, without_part
from maskq.producer.errors import (
    JobUnfinished,
    MaskqError,
    PayloadMissing,
    ResultNotReady,
    UnknownJob,
    WaitTimeout,
)
from maskq.producer.formats.registry import DEFAULT
from maskq.producer.printable import UNPRINTABLE

from .jobs import connect
from .options import FormatNames, JobIds, Json, Out, Simplify
from .terminal import print_error
from .worker_watch import WorkerWatch

if TYPE_CHECKING:
    from maskq.producer.formats.batch import Item
    from maskq.producer.formats.folder import ResultFolder

    from .notes import Notes
    from .result_files import Summary

app = typer.Typer()

_NO_RESULT = (JobUnfinished, PayloadMissing, ResultNotReady, UnknownJob, WaitTimeout)


@app.command()
def result(
    jobs: JobIds,
    out: Out,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for unfinished jobs.")] = 0,
    format_names: FormatNames = DEFAULT,
    simplify: Simplify = 0,
    as_zip: Annotated[bool, typer.Option("--zip", help="Write the files into one, results.zip.")] = False,
    as_json: Json = False,
) -> int:
    """Write the results of jobs to a folder, as `maskq run` does. Exit status 1 if a job has no result."""
    from maskq.producer.formats.atomic_file import atomic_file
    from maskq.producer.formats.batch import zip_results
    from maskq.producer.formats.folder import ResultFolder
    from maskq.producer.formats.registry import select

    from .notes import Notes
    from .result_files import Summary

    formats, began = select(format_names), time.monotonic()
    report = _Report(Summary(images=len(jobs)), Notes(), as_json)
    with connect() as client, WorkerWatch(client) if wait else nullcontext():
        fetch = _Fetch(began + wait if wait else None, any(one.needs_image for one in formats), report)
        named = _named(client, jobs, report)
        if as_zip:
            with atomic_file(out / "results.zip") as part, part.open("wb") as file:
                file.writelines(zip_results(_items(named, fetch), format_names, simplify))
        else:
            with ResultFolder(out, format_names, simplify=simplify) as files:
                for job, name in named:
                    _write(job, name, fetch, files)
    return report.finish(out, time.monotonic() - began)


def _named(client: Client, jobs: list[str], report: _Report) -> list[tuple[Job, str]]:
    """Each job that exists, and a name for its files. The results are fetched later, one at a time."""
    paths: dict[Path, Job] = {}
    for job in map(client.job, dict.fromkeys(jobs)):
        try:
            name = Path(without_part(job.status().spec.name)).name
        except UnknownJob as error:
            report.failure(job, error)
        else:
            paths[Path(job.id) / (UNPRINTABLE.sub("_", name) or "image")] = job
    return [(job, name) for job, name in zip(paths.values(), result_names(paths).values(), strict=True)]


def _write(job: Job, name: str, fetch: _Fetch, files: ResultFolder) -> None:
    outcome = fetch(job)
    if not isinstance(outcome, MaskqError):
        done, image = outcome
        paths, refusal = files.write_possible(done, image=image, name=name)
        fetch.report.result(job, done, paths)
        if refusal:
            fetch.report.failure(job, refusal)


def _items(named: list[tuple[Job, str]], fetch: _Fetch) -> Iterator[Item]:
    for job, name in named:
        outcome = fetch(job)
        if not isinstance(outcome, MaskqError):
            fetch.report.result(job, outcome[0], {})
        yield name, outcome


@dataclass(frozen=True)
class _Fetch:
    """Fetches results from the broker."""

    #: Until when to wait for unfinished jobs, by `time.monotonic`; None not to wait.
    deadline: float | None
    with_image: bool
    report: _Report

    def __call__(self, job: Job) -> tuple[Result, bytes] | MaskqError:
        """The result and, if needed, the image; or why there is none, which is reported."""
        try:
            done = job.result() if self.deadline is None else job.wait(max(0.0, self.deadline - time.monotonic()))
            return done, job.image() if self.with_image else b""
        except _NO_RESULT as error:
            self.report.failure(job, error)
            return error


@dataclass(frozen=True)
class _Report:
    """What the command prints, and `summary.json`."""

    summary: Summary
    notes: Notes
    as_json: bool

    def result(self, job: Job, done: Result, paths: dict[str, Path]) -> None:
        """A line for a result and its files."""
        from .result_files import json_entry

        self.summary.add_result(done)
        self.notes.add(done.job.spec.name, done)
        if self.as_json:
            print(dumps({"job_id": job.id} | json_entry(done, paths)), flush=True)
        else:
            print(f"{list(paths.values())[-1] if paths else job.id}  {done.count} objects", flush=True)

    def failure(self, job: Job, error: MaskqError) -> None:
        """A line on standard error for a job without a result, or without a file."""
        from .result_files import failure_kind

        self.summary.add_failure(Path(job.id), failure_kind(error), str(error))
        print_error(f"{job.id}: {error}")

    def finish(self, out: Path, seconds: float) -> int:
        """Write `summary.json` and show notes; returns the exit status."""
        self.summary.seconds = seconds
        self.summary.write(out)
        if not self.as_json:
            self.notes.show()
        return 1 if self.summary.failures else 0
