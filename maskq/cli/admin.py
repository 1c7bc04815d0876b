"""What an operator asks: `maskq stats`, `dead` and `gc`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from rich.table import Table

from maskq.producer.errors import InvalidJob
from maskq.producer.schema import JobStatus, State
from maskq.producer.state.exposition import exposition
from maskq.producer.state.stats import Stats

from .jobs import complain, connect, console


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


def dead(
    do: Literal["list", "show", "requeue", "drop"],
    jobs: list[str],
    reason: str | None,
    older_s: float | None,
    every: bool,
    as_json: bool,
) -> int:
    """List, show, try again or drop dead letters: those named, or those that the filters choose; 1 if one is none."""
    with connect() as client:
        act = {"requeue": client.requeue, "drop": client.drop}.get(do)
        if act and not (jobs or reason or older_s or every):
            raise InvalidJob(f"which? name jobs, or choose by --reason or --older, or take --all of them to {do}")
        letters = {job.id: job for job in client.dead(reason=reason, older_s=older_s)}
        unknown = [job_id for job_id in jobs if job_id not in letters]
        chosen = [letters[job_id] for job_id in jobs if job_id in letters] if jobs else list(letters.values())
        for job_id in unknown:
            complain(f"{job_id}: no dead letter (of those asked for)")
        if act:
            for job in chosen:
                act(job.id)
        _show_dead(chosen, do, as_json)
    return 1 if unknown else 0


def _show_dead(letters: list[JobStatus], do: str, as_json: bool) -> None:
    if as_json:
        for job in letters:
            print(job.model_dump_json(), flush=True)
        return
    if do in ("requeue", "drop"):
        print(f"{len(letters)} {'tried again' if do == 'requeue' else 'dropped'}")
        return
    table = Table("job", "image", "model", "died", "error")
    for job in letters:
        error = job.error.message if job.error else ""
        table.add_row(job.id, job.spec.name, job.spec.model, _clock(job.times[State.DEAD]), error)
        if do == "show":
            for told in job.history:
                place = f"{told.stage}, attempt {told.attempt}"
                table.add_row("", place, told.worker, _clock(told.time), told.error)
    console.print(table)


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time).astimezone().isoformat(" ", "seconds")


def gc(dry_run: bool, as_json: bool) -> int:
    """Drop what no job needs any more, or say what would go."""
    with connect() as client:
        found = client.gc(dry_run=dry_run)
    if as_json:
        print(json.dumps(found))
        return 0
    table = Table("what", "would go" if dry_run else "went")
    for what, count in found.items():
        table.add_row(what, f"{count:,}")
    console.print(table)
    return 0
