"""A single job that comes behind another client's burst: clients take turns, so it does not wait for the burst.

Ours: the median seconds of one client's single jobs, one at a time, while another's burst is queued, with an identity
network (everything but the network's own work). The yardstick: what the last of the burst waits, as the single job
would if all stood in one line. `before` is how many jobs went before it, as the rate of the burst tells; `alone_ms`
what it takes on the idle stack.
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
from .pictures import crops
from .stacks import embedded

_BURST, _QUICK = 10_000, 500
_SINGLES = 20
#: Jobs that may go before it: what Celery's queues and the workers have in hand, and a few batches.
_TARGET = 40


def run(quick: bool, images: Path | None) -> list[Case]:
    """One burst, and the singles that came meanwhile."""
    burst, pictures = _QUICK if quick else _BURST, crops(16)
    with tempfile.TemporaryDirectory() as folder:
        model = identity_model(Path(folder))
        settings = embedded(models=folder)
        with running(settings) as stack, Client(settings=stack.settings) as client:

            def single() -> None:
                client.submit(pictures[0], name="single", model=model, client="one").wait()

            alone = median(timed(single) for _ in range(_SINGLES))
            began = time.perf_counter()
            for image in track(islice(cycle(pictures), burst), "queueing", total=burst, transient=True):
                last = client.submit(image, name="burst", model=model, client="many")
            behind = median(timed(single) for _ in range(_SINGLES))
            queued = client.stats().unfinished
            last.wait()
            waited = time.perf_counter() - began
    before = behind * burst / waited
    told = {"alone_ms": round(1000 * alone, 1), "before": round(before, 1), "target": _TARGET, "still_queued": queued}
    return [Case.seconds("one job behind a burst", behind, waited, burst=burst, **told)]
