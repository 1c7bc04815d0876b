"""Alternated timing, and the report format of all benchmarks."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Case:
    """One comparison. `ratio` is how many times better ours is, for every unit; above 1 is better."""

    case: str
    ours: float
    yardstick: float
    unit: str
    ratio: float
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def seconds(cls, case: str, ours: float, yardstick: float, **more: Any) -> Case:
        """Compare times: less is better."""
        return cls.amount(case, ours, yardstick, "s", **more)

    @classmethod
    def amount(cls, case: str, ours: float, yardstick: float, unit: str, **more: Any) -> Case:
        """Compare costs, such as time or memory: less is better."""
        return cls(case, round(ours, 6), round(yardstick, 6), unit, round(yardstick / ours, 3), more)

    @classmethod
    def rate(cls, case: str, ours: float, yardstick: float, unit: str, **more: Any) -> Case:
        """Compare rates: more is better."""
        return cls(case, round(ours, 3), round(yardstick, 3), unit, round(ours / yardstick, 3), more)


def alternate(ours: Callable[[], Any], yardstick: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Run both in turn, so that a disturbance of the machine affects both; return their median seconds."""
    our_times, yardstick_times = [], []
    for _ in range(rounds):
        our_times.append(timed(ours))
        yardstick_times.append(timed(yardstick))
    return median(our_times), median(yardstick_times)


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(name: str, cases: list[Case], as_json: bool) -> None:
    """Print a table; with `as_json`, print it to standard error, and one JSON object as the last line."""
    table = Table("case", "ours", "yardstick", "unit", "ratio", "more", title=name)
    for case in cases:
        extra = "  ".join(f"{key} {value}" for key, value in case.more.items())
        table.add_row(case.case, f"{case.ours:g}", f"{case.yardstick:g}", case.unit, f"{case.ratio:g}", extra)
    Console(stderr=as_json).print(table)
    if as_json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        flat = [{k: v for k, v in asdict(case).items() if k != "more"} | case.more for case in cases]
        print(json.dumps({"benchmark": name, "machine": machine, "cases": flat}))
