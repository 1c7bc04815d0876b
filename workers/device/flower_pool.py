"""Celery's pool of threads, whose page in Flower also shows what the device has done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.concurrency.thread import TaskPool

from .metrics import Entries


def showing(entries: Callable[[], Entries]) -> type[TaskPool]:
    """A pool that adds these entries to what Celery tells of it: `inspect stats`, and Flower's tab Pool."""

    class DevicePool(TaskPool):  # type: ignore[misc]  # Celery has no types
        def _get_info(self) -> dict[str, Any]:
            return {**super()._get_info(), **entries()}

    return DevicePool
