"""What `maskq submit`, `status`, `cancel` and `stats` do: a client of a broker, nothing heavier."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from maskq.producer.client.client import Client
from maskq.producer.client.paths import expand
from maskq.producer.errors import InvalidJob, UnknownJob
from maskq.producer.schema import JobStatus, Options, State

T = TypeVar("T")

console = Console()
stderr = Console(stderr=True)


def connect() -> Client:
    """A client of the broker that answers. Raises `InvalidJob`, `BrokerUnavailable`."""
    client = Client()
    client.check()
    return client


def complain(message: str) -> None:
    """Say on standard error what went wrong with one image or job, in red."""
    stderr.print(message, style="red", highlight=False)


def submit(paths: list[str], options: dict[str, Any], asked: dict[str, Any], as_json: bool) -> int:
    """Queue every image, as `asked` of `Client.submit`; 1 if one could not be queued."""
    failed = 0
    with connect() as client:
        for path in expand(paths):
            try:
                job = client.submit(path, options=Options(**options), **asked)
            except (InvalidJob, OSError) as error:
                failed = 1
                complain(f"{path}: {error}")
                continue
            print(json.dumps({"job_id": job.id, "image": str(path)}) if as_json else job.id, flush=True)
    return failed


def status(jobs: list[str], as_json: bool) -> int:
    """Show every job; 1 if one ended without a result or is not known."""
    failed = 0
    table = Table("job", "image", "model", "state", "seconds", "error")
    with connect() as client:
        for job_id in jobs:
            if (found := _known(client.job(job_id).status)) is None:
                failed = 1
                continue
            failed |= found.state.ended and found.state is not State.DONE
            if as_json:
                print(json.dumps(found.model_dump(mode="json") | {"timings": found.timings}), flush=True)
            else:
                table.add_row(*_row(found))
    if table.row_count:
        console.print(table)
    return failed


def _row(job: JobStatus) -> list[str]:
    error = f"{job.error.type}: {job.error.message}" if job.error else ""
    return [job.id, job.spec.name, job.spec.model, job.state, f"{job.timings['total']:.2f}", error]


def cancel(jobs: list[str], as_json: bool) -> int:
    """Cancel every job that has not ended; 1 if one had, or is not known."""
    failed = 0
    with connect() as client:
        for job_id in jobs:
            if (state := _known(client.job(job_id).cancel)) is None:
                failed = 1
                continue
            failed |= state is not State.CANCELLED
            print(json.dumps({"job_id": job_id, "state": state}) if as_json else f"{job_id} {state}", flush=True)
    return failed


def _known(ask: Callable[[], T]) -> T | None:
    """The answer to a question about one job; None, and a complaint, where the job is not known."""
    try:
        return ask()
    except UnknownJob as error:
        complain(str(error))
        return None
