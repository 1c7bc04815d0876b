"""A steady load of real images, and what a run without faults makes of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maskq import Client, Job, Result
from maskq.producer.errors import BrokerUnavailable, QueueFull, StoreFull

#: How long a producer waits before it tries again what was refused, seconds.
_PAUSE_S = 0.25


def without_faults(client: Client, images: Sequence[Path], wait_s: float) -> list[Result]:
    """Each image's result, while nothing is broken."""
    return [job.wait(wait_s) for job in [client.submit(image) for image in images]]


@dataclass
class Load:
    """Images that are submitted in turn, evenly spread over a time, by one thread; each refusal is tried again."""

    client: Client
    images: Sequence[Path]
    #: The jobs whose `submit` has returned, and the number of each one's image.
    accepted: list[tuple[Job, int]] = field(default_factory=list)
    #: What was raised instead.
    refused: list[Exception] = field(default_factory=list)

    def submit(self, count: int, over_s: float, stop: threading.Event) -> None:
        """So many, in so many seconds; ends early where `stop` is set."""
        began = time.monotonic()
        for number in range(count):
            due = began + over_s * number / count
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            self.submit_one(number % len(self.images), stop)

    def submit_one(self, image: int, stop: threading.Event) -> None:
        """Until it is accepted."""
        while not stop.is_set():
            try:
                job = self.client.submit(self.images[image], reuse=False)
            except (BrokerUnavailable, QueueFull, StoreFull) as error:
                self.refused.append(error)
                stop.wait(_PAUSE_S)
            else:
                self.accepted.append((job, image))
                return

    def differing(self, reference: Sequence[Result], deadline: float) -> list[str]:
        """Waits for every accepted job, and says what is not as it was without faults."""
        found = []
        for job, image in self.accepted:
            result = job.wait(max(0.1, deadline - time.monotonic()))
            same = np.array_equal(result.labels, reference[image].labels)
            if not same or result.objects != reference[image].objects:
                found.append(f"{job.id}: another result than without faults")
        return found


@contextmanager
def loaded(load: Load, count: int, over_s: float) -> Iterator[None]:
    """So many images are submitted while the block runs; at its end all are, or it has failed."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(load.submit, count, over_s, stop)
        try:
            yield
            running.result()
        finally:
            stop.set()
