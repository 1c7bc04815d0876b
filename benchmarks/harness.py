"""Alternated timing and the one form in which every benchmark reports."""

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
    """One comparison. `ratio` says how many times better ours is, whatever the unit; above 1 is better."""

    case: str
    ours: float
    yardstick: float
    unit: str
    ratio: float
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def seconds(cls, case: str, ours: float, yardstick: float, **more: Any) -> Case:
        """A comparison of times: less is better."""
        return cls.amount(case, ours, yardstick, "s", **more)

    @classmethod
    def amount(cls, case: str, ours: float, yardstick: float, unit: str, **more: Any) -> Case:
        """A comparison of what is spent, such as time or memory: less is better."""
        return cls(case, round(ours, 6), round(yardstick, 6), unit, round(yardstick / ours, 3), more)

    @classmethod
    def rate(cls, case: str, ours: float, yardstick: float, unit: str, **more: Any) -> Case:
        """A comparison of rates: more is better."""
        return cls(case, round(ours, 3), round(yardstick, 3), unit, round(ours / yardstick, 3), more)


def alternate(ours: Callable[[], Any], yardstick: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median seconds of each, run in turn: what disturbs the machine disturbs both."""
    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(timed(ours))
        theirs.append(timed(yardstick))
    return median(mine), median(theirs)


def timed(work: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(name: str, cases: list[Case], as_json: bool) -> None:
    """A table for people; with `as_json`, one JSON object on the last line."""
    table = Table("case", "ours", "yardstick", "unit", "ratio", "more", title=name)
    for case in cases:
        extra = "  ".join(f"{key} {value}" for key, value in case.more.items())
        table.add_row(case.case, f"{case.ours:g}", f"{case.yardstick:g}", case.unit, f"{case.ratio:g}", extra)
    Console(stderr=as_json).print(table)
    if as_json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        flat = [{k: v for k, v in asdict(case).items() if k != "more"} | case.more for case in cases]
        print(json.dumps({"benchmark": name, "machine": machine, "cases": flat}))
