"""Celery's thread pool, whose page in Flower also shows the device's counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.concurrency.thread import TaskPool

from .metrics import Entries


def device_pool(entries: Callable[[], Entries]) -> type[TaskPool]:
    """Return a pool class that adds these entries to Celery's `inspect stats`, which Flower's Pool tab shows."""

    class DevicePool(TaskPool):  # type: ignore[misc]  # Celery has no types
        def _get_info(self) -> dict[str, Any]:
            return {**super()._get_info(), **entries()}

    return DevicePool
