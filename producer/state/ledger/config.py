"""What bounds the ledger."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LedgerConfig:
    """The ledger's bounds and times. `producer.settings` describes each under the same name."""

    retention_s: int = 86_400
    dead_retention_s: int = 604_800
    max_queued: int = 100_000
    max_queued_bytes: int = 1 << 40
    max_client_queued: int = 100_000
    max_attempts: int = 3
    lease_s: float = 8.0
    age_s: float = 60.0
    window: int = 16
    task_events: bool = True
