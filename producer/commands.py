"""What `maskq submit`, `status`, `cancel` and `stats` do: a client of a broker, nothing heavier."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from .client import Client
from .contract import JobStatus, Options, State
from .errors import InvalidJob, UnknownJob
from .settings import Settings
from .sources import expand
from .stats import Stats, exposition

T = TypeVar("T")

console = Console()
stderr = Console(stderr=True)

#: The file in which `maskq up` leaves its broker's address for other terminals.
BROKER_FILE = "broker-url"


def connect(settings: Settings | None = None) -> Client:
    """A client of the configured broker, or of the `maskq up` that runs. Raises `InvalidJob`, `BrokerUnavailable`."""
    settings = settings or Settings()
    running = settings.state_dir / BROKER_FILE
    if settings.broker_url is None and running.is_file():
        settings = settings.model_copy(update={"broker_url": running.read_text().strip()})
    client = Client(settings=settings)
    client.check()
    return client


def complain(message: str) -> None:
    """Say on standard error what went wrong with one image or job, in red."""
    stderr.print(message, style="red", highlight=False)


def submit(paths: list[str], model: str, priority: int, options: dict[str, Any], as_json: bool) -> int:
    """Queue every image; 1 if one could not be queued."""
    failed = 0
    with connect() as client:
        for path in expand(paths):
            try:
                job = client.submit(path, model=model, priority=priority, options=Options(**options))
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


def stats(as_json: bool, metrics: bool) -> int:
    """Show what waits, what is worked on, and what every device has done."""
    with connect() as client:
        found = client.stats()
    if metrics:
        print(exposition(found), end="")
    elif as_json:
        print(found.model_dump_json())
    else:
        for table in _tables(found):
            console.print(table)
    return 0


def _tables(found: Stats) -> Iterator[Table]:
    queues = Table("queue", "waiting", "oldest, s")
    for name, queue in found.queues.items():
        queues.add_row(name, f"{queue.waiting:,}", f"{queue.oldest_s:.1f}")
    yield queues
    most = f" of {found.redis_max_bytes / 1e6:,.0f}" if found.redis_max_bytes else ""
    jobs = Table("unfinished", "worked on", "dead letters", "Redis, MB")
    jobs.add_row(
        f"{found.unfinished:,}", f"{found.working:,}", f"{found.dead:,}", f"{found.redis_bytes / 1e6:,.1f}{most}"
    )
    yield jobs
    names = dict.fromkeys(name for said in found.devices.values() for name in said if name != "time")
    if names:
        devices = Table("device", *found.devices)
        for name in names:
            devices.add_row(name.replace("_", " "), *(str(said.get(name, "")) for said in found.devices.values()))
        yield devices
