"""Counts what a device process does, for `maskq stats` and Flower."""

import threading

from ..celery_worker.publisher import Entries


class Counters:
    """Batches, images and seconds of one device since its process began. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches = self._images = self._halvings = self._in_hand = 0
        self._seconds = 0.0

    def add_batch(self, images: int, seconds: float) -> None:
        """Count a batch that ran."""
        with self._lock:
            self._batches += 1
            self._images += images
            self._seconds += seconds

    def add_halving(self) -> None:
        """Count a batch that was too large for the device's memory and ran in halves."""
        with self._lock:
            self._halvings += 1

    def job_started(self) -> None:
        """Count a job as in hand."""
        with self._lock:
            self._in_hand += 1

    def job_ended(self) -> None:
        """Count a job as in hand no more, whether it succeeded or failed."""
        with self._lock:
            self._in_hand -= 1

    def in_hand(self) -> int:
        """Return the number of jobs that started and have not ended."""
        return self._in_hand

    def entries(self) -> Entries:
        """Return all counters by name."""
        with self._lock:
            return {
                "in_hand": self._in_hand,
                "batches": self._batches,
                "images": self._images,
                "mean_batch": round(self._images / self._batches, 2) if self._batches else 0.0,
                "device_s": round(self._seconds, 3),
                "memory_halvings": self._halvings,
            }
