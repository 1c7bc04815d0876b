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

NAMES = (
    "clustering",
    "device",
    "fairness",
    "feed",
    "formats",
    "huge",
    "latency",
    "machinery",
    "pipeline",
    "scaling",
    "soak",
)
#: The benchmarks that accept images; the others generate theirs.
WITH_IMAGES = ("huge", "latency", "pipeline")


def main() -> None:
    """Run one benchmark and report it."""
    arguments = parse(sys.argv[1:])
    # Run with the workers' malloc settings, which a process reads at its start.
    if not malloc_env().items() <= os.environ.items():
        os.execve(sys.executable, sys.orig_argv, os.environ | malloc_env())
    run = import_module(f"benchmarks.{arguments.name}").run
    options: dict[str, Any] = {"device": arguments.device} if arguments.device else {}
    options |= {"peers": arguments.peers} if arguments.peers else {}
    cases = []
    for images in arguments.images or [None]:
        cases += run(quick=arguments.quick, images=images, **options)
    report(arguments.name, cases, arguments.json)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; an invalid one is reported and ends the process with status 2."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a rough result")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        help="pipeline, latency: folders, run one after another, each with the model of its name; huge: images "
        "(default: those that installed packages ship)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="device: what to run on (default: cpu)")
    parser.add_argument(
        "--peers",
        type=Path,
        metavar="PYTHON",
        help="machinery: also the servers of mosec and LitServe, as far as this Python has them",
    )
    arguments = parser.parse_args(argv)
    if arguments.images and arguments.name not in WITH_IMAGES:
        parser.error(f"--images is for {', '.join(WITH_IMAGES)}; {arguments.name} makes its own")
    if arguments.device and arguments.name != "device":
        parser.error(f"--device is for device, not for {arguments.name}")
    if arguments.peers and arguments.name != "machinery":
        parser.error(f"--peers is for machinery, not for {arguments.name}")
    if arguments.peers and not os.access(arguments.peers, os.X_OK):
        parser.error(f"--peers: no such program: {arguments.peers}")
    for path in arguments.images or ():
        if not path.exists():
            parser.error(f"--images: no such file or folder: {path}")
    return arguments


if __name__ == "__main__":
    main()
