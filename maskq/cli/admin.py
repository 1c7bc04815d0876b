"""`maskq serve`, `stats`, `gc` and `dead`: for operators."""

from collections.abc import Iterator
from datetime import datetime
from json import dumps
from typing import Annotated

import typer

from maskq.producer.client.client import Client
from maskq.producer.errors import InvalidJob
from maskq.producer.schema import JobStatus, State
from maskq.producer.state.stats import Stats

from .jobs import connect
from .options import Address, Json
from .terminal import PlainTable, print_error, stdout

app = typer.Typer()
dead = typer.Typer(no_args_is_help=True, help="Dead letters: jobs that failed in all of their attempts.")
app.add_typer(dead, name="dead")

DeadJobs = Annotated[list[str] | None, typer.Argument(metavar="JOB", show_default=False, help="Job ids.")]
Reason = Annotated[str | None, typer.Option(help="Only jobs whose error contains these words.")]
Older = Annotated[float | None, typer.Option(min=0, help="Only jobs that died at least this many seconds ago.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]


@app.command()
def serve(
    address: Address = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0: a free one.")] = 8000,
) -> int:
    """Run the HTTP gateway until SIGTERM. Its OpenAPI page is at /docs."""
    from maskq.producer.gateway import server

    return server.serve(address, port)


@app.command()
def stats(
    as_json: Json = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Print Prometheus' text format.")] = False,
) -> int:
    """Show the queues, the jobs in progress, and the counters of every device: batches, cudnn searches, seconds."""
    from maskq.producer.state.exposition import exposition

    with connect() as client:
        current = client.stats()
    if metrics:
        print(exposition(current), end="")
    elif as_json:
        print(current.model_dump_json())
    else:
        for table in _tables(current):
            stdout.show(table)
    return 0


def _tables(current: Stats) -> Iterator[PlainTable]:
    queues = PlainTable("queue", "waiting", "oldest, s")
    for name, queue in current.queues.items():
        queues.add_row(name, f"{queue.waiting:,}", f"{queue.oldest_s:.1f}")
    yield queues
    limit = f" of {current.redis_max_bytes / 1e6:,.0f}" if current.redis_max_bytes else ""
    memory = f"{current.redis_bytes / 1e6:,.1f}{limit}"
    jobs = PlainTable("unfinished", "worked on", "dead letters", "Redis, MB")
    jobs.add_row(f"{current.unfinished:,}", f"{current.working:,}", f"{current.dead:,}", memory)
    yield jobs
    counters = dict.fromkeys(name for entries in current.devices.values() for name in entries if name != "time")
    if counters:
        devices = PlainTable("device", *current.devices)
        for name in counters:
            devices.add_row(name.replace("_", " "), *(str(d.get(name, "")) for d in current.devices.values()))
        yield devices


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be deleted.")] = False,
    as_json: Json = False,
) -> int:
    """Delete what no job needs any more. Workers also do this, continuously."""
    with connect() as client:
        counts = client.gc(dry_run=dry_run)
    if as_json:
        print(dumps(counts))
        return 0
    table = PlainTable("what", "to delete" if dry_run else "deleted")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    stdout.show(table)
    return 0


@dead.command("list")
def dead_list(reason: Reason = None, older: Older = None, as_json: Json = False) -> int:
    """List the dead letters."""
    return _show(None, reason, older, as_json, history=False)


@dead.command("show")
def dead_show(jobs: DeadJobs = None, reason: Reason = None, older: Older = None, as_json: Json = False) -> int:
    """Show dead letters and every failed attempt: the worker, the error and the time."""
    return _show(jobs, reason, older, as_json, history=True)


@dead.command("requeue")
def dead_requeue(
    jobs: DeadJobs = None, reason: Reason = None, older: Older = None, every: All = False, as_json: Json = False
) -> int:
    """Try dead letters again, from the stage they died in."""
    with connect() as client:
        _check_choice(jobs, reason, older, every, "requeue")
        letters, status = _choose(client, jobs, reason, older)
        tried = [job for job in letters if client.requeue(job.id)]
        for job in letters:
            if job not in tried:
                status = 1
                print_error(f"{job.id}: a plane of a stack that has ended, or no dead letter any more: submit it again")
    return _report(tried, status, "tried again", as_json)


@dead.command("drop")
def dead_drop(
    jobs: DeadJobs = None, reason: Reason = None, older: Older = None, every: All = False, as_json: Json = False
) -> int:
    """Delete dead letters and their images."""
    with connect() as client:
        _check_choice(jobs, reason, older, every, "drop")
        letters, status = _choose(client, jobs, reason, older)
        for job in letters:
            client.drop(job.id)
    return _report(letters, status, "dropped", as_json)


def _check_choice(jobs: list[str] | None, reason: str | None, older: float | None, every: bool, verb: str) -> None:
    if not (jobs or reason or older or every):
        raise InvalidJob(f"which? name the jobs to {verb}, filter with --reason or --older, or pass --all")


def _choose(
    client: Client, jobs: list[str] | None, reason: str | None, older: float | None
) -> tuple[list[JobStatus], int]:
    """The dead letters that pass the filters, only the named ones if any are; exit status 1 if a named one is not
    among them.
    """
    letters = {job.id: job for job in client.dead(reason=reason, older_s=older)}
    if not jobs:
        return list(letters.values()), 0
    unknown = [job_id for job_id in jobs if job_id not in letters]
    for job_id in unknown:
        print_error(f"{job_id}: no such dead letter, or the filters exclude it")
    return [letters[job_id] for job_id in jobs if job_id in letters], 1 if unknown else 0


def _report(letters: list[JobStatus], status: int, action: str, as_json: bool) -> int:
    if as_json:
        _print_json(letters)
    else:
        print(f"{len(letters)} {action}")
    return status


def _show(jobs: list[str] | None, reason: str | None, older: float | None, as_json: bool, *, history: bool) -> int:
    with connect() as client:
        letters, status = _choose(client, jobs, reason, older)
    if as_json:
        _print_json(letters)
        return status
    table = PlainTable("job", "image", "model", "died", "error", whole="job")
    for job in letters:
        error = job.error.message if job.error else ""
        table.add_row(job.id, job.spec.name, job.spec.model, _clock(job.times[State.DEAD]), error)
        for attempt in job.history if history else ():
            place = f"{attempt.stage}, attempt {attempt.attempt}"
            table.add_row("", place, attempt.worker, _clock(attempt.time), attempt.error)
    stdout.show(table)
    return status


def _print_json(letters: list[JobStatus]) -> None:
    for job in letters:
        print(job.model_dump_json(), flush=True)


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time).astimezone().isoformat(" ", "seconds")
