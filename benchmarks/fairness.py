"""A single job submitted after another client's burst: clients take turns, so it does not wait for the burst.

Ours: the median seconds of one client's single jobs, one at a time, while another client's burst is queued, with an
identity network (everything but the network's own work). The yardstick: the time until the last job of the burst is
done, as the single job would wait in one queue for all. `before` is the number of jobs that ran before it, computed
from the burst's rate; `alone_ms` is its time on the idle stack.
"""

from __future__ import annotations

import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from rich.progress import track

from maskq.producer.client.client import Client
from maskq.workers.local.stack import running

from .harness import Case, timed
from .identity import identity_model
from .sample_images import crops
from .stack_settings import stack_settings

_BURST, _QUICK = 10_000, 500
_SINGLES = 20
#: Jobs that may run before it: those that Celery's queues and the workers hold, and a few batches.
_TARGET = 40


def run(quick: bool, images: Path | None) -> list[Case]:
    """Run one burst, and single jobs meanwhile."""
    burst, data = _QUICK if quick else _BURST, crops(16)
    with tempfile.TemporaryDirectory() as folder:
        model = identity_model(Path(folder))
        settings = stack_settings(models=folder)
        with running(settings) as stack, Client(settings=stack.settings) as client:

            def single() -> None:
                client.submit(data[0], name="single", model=model, client="one").wait()

            alone = median(timed(single) for _ in range(_SINGLES))
            began = time.perf_counter()
            for image in track(islice(cycle(data), burst), "queueing", total=burst, transient=True):
                last = client.submit(image, name="burst", model=model, client="many")
            behind = median(timed(single) for _ in range(_SINGLES))
            queued = client.stats().unfinished
            last.wait()
            waited = time.perf_counter() - began
    before = round(behind * burst / waited, 1)
    more = {"alone_ms": round(1000 * alone, 1), "before": before, "target": _TARGET, "still_queued": queued}
    return [Case.seconds("one job behind a burst", behind, waited, burst=burst, **more)]
