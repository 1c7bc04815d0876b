"""What the benchmarks' stacks have in common."""

from __future__ import annotations

from typing import Any

from maskq.producer.settings import Settings


def embedded(**more: Any) -> Settings:
    """A private Redis, a device process on `cpu` and a cluster process; each job is worked, though images repeat."""
    chosen: dict[str, Any] = {"broker_url": None, "reuse": False, "devices": "cpu", "cluster_processes": 1}
    return Settings(**(chosen | more))
