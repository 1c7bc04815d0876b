"""`python -m benchmarks NAME [--quick] [--json]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from maskq.workers.programs import malloc_env

from .harness import report

NAMES = ("clustering", "device", "fairness", "huge", "latency", "machinery", "pipeline", "scaling", "soak")
#: The benchmarks that take images; the others make their own.
WITH_IMAGES = ("huge", "latency", "pipeline")


def main() -> None:
    """Run one benchmark and report it."""
    given = parse(sys.argv[1:])
    if not malloc_env().items() <= os.environ.items():  # as the workers run; read when a process begins
        os.execve(sys.executable, sys.orig_argv, os.environ | malloc_env())
    run = import_module(f"benchmarks.{given.name}").run
    options: dict[str, Any] = {"device": given.device} if given.device else {}
    cases = [case for images in given.images or [None] for case in run(quick=given.quick, images=images, **options)]
    report(given.name, cases, given.json)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; what can't be is told, and ends the process with status 2."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        help="pipeline, latency: folders, run one after another, each with the model of its name; huge: pictures "
        "(default: those of packages)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="device: what to run on (default: cpu)")
    given = parser.parse_args(arguments)
    if given.images and given.name not in WITH_IMAGES:
        parser.error(f"--images is for {', '.join(WITH_IMAGES)}; {given.name} makes its own")
    if given.device and given.name != "device":
        parser.error(f"--device is for device, not for {given.name}")
    for path in given.images or ():
        if not path.exists():
            parser.error(f"--images: no such file or folder: {path}")
    return given


if __name__ == "__main__":
    main()
