"""What `maskq result` does."""

from __future__ import annotations

import json
import time
from pathlib import Path

from maskq.producer.client.job import Job, Result
from maskq.producer.client.paths import names
from maskq.producer.errors import JobUnfinished, PayloadMissing, ResultNotReady, UnknownJob, WaitTimeout

from .jobs import complain, connect
from .result_files import Summary, failure_kind, write_result


def result(jobs: list[str], out: Path, wait_s: float, as_json: bool) -> int:
    """Write every finished job's files; 1 if one has no result."""
    began = time.monotonic()
    summary = Summary(images=len(jobs))
    ready: list[tuple[Job, Result]] = []
    with connect() as client:
        for job in map(client.job, dict.fromkeys(jobs)):
            try:
                left = max(0.0, wait_s - (time.monotonic() - began))
                ready.append((job, job.wait(left) if wait_s else job.result()))
            except (JobUnfinished, ResultNotReady, UnknownJob, WaitTimeout) as error:
                summary.add_failure(Path(job.id), failure_kind(error), str(error))
                complain(f"{job.id}: {error}")
        named = names(Path(job.id) / (Path(found.job.spec.name).name or "image") for job, found in ready)
        for (job, found), name in zip(ready, named.values(), strict=True):
            _write(job, found, out, name, summary, as_json)
    summary.seconds = time.monotonic() - began
    summary.write(out)
    return 1 if summary.failures else 0


def _write(job: Job, found: Result, out: Path, name: str, summary: Summary, as_json: bool) -> None:
    try:
        overlay = write_result(found, job.image(), out, name)
    except PayloadMissing as error:
        summary.add_failure(Path(job.id), failure_kind(error), str(error))
        complain(f"{job.id}: {error}")
        return
    summary.done += 1
    summary.objects += len(found.objects)
    line = {"job_id": job.id, "objects": len(found.objects), "overlay": str(overlay)}
    print(json.dumps(line) if as_json else f"{overlay}  {len(found.objects)} objects", flush=True)
