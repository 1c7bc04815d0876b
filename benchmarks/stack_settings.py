"""The settings of the benchmarks' stacks."""

from __future__ import annotations

from typing import Any

from maskq.producer.settings import Settings


def stack_settings(**overrides: Any) -> Settings:
    """Return settings for a private Redis, one device process on `cpu` and one cluster process; no result is reused."""
    values: dict[str, Any] = {"broker_url": None, "reuse": False, "devices": "cpu", "cluster_processes": 1}
    return Settings(**(values | overrides))
