"""`python -m benchmarks NAME [--quick] [--json]`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from workers.stack import retained_heap

from .harness import report

NAMES = ("clustering", "huge", "pipeline")


def main() -> None:
    """Run one benchmark and report it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--images", type=Path, help="pipeline: a folder; huge: a picture (default: those of packages)")
    given = parser.parse_args()
    if not retained_heap().items() <= os.environ.items():  # as the workers run; read when a process begins
        os.execve(sys.executable, sys.orig_argv, os.environ | retained_heap())
    cases = import_module(f"benchmarks.{given.name}").run(quick=given.quick, images=given.images)
    report(given.name, cases, given.json)


if __name__ == "__main__":
    main()
