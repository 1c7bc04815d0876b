"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, for machines.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Which model: see `maskq models`.")]
Devices = Annotated[
    str | None, typer.Option("--devices", help="cpu, cuda, cuda:0=on,cuda:1=auto …; default MASKQ_DEVICES, or auto.")
]
Processes = Annotated[
    int | None, typer.Option("--cluster-processes", min=1, help="Processes that cluster; default half the cores.")
]
Paths = Annotated[list[str], typer.Argument(help="Image files, folders and globs.", metavar="PATH...")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder for labels, objects and overlays.")]
Priority = Annotated[int, typer.Option("--priority", "-p", min=0, max=9, help="9 goes first.")]
JobIds = Annotated[list[str], typer.Argument(help="Job ids, as `maskq submit` prints them.", metavar="JOB...")]
SeedThreshold = Annotated[
    float | None, typer.Option(min=0.5, max=1, help="Seediness below which nothing becomes an object's seed.")
]
MinPixels = Annotated[int | None, typer.Option(min=0, help="Objects have more pixels than this.")]
Tta = Annotated[bool, typer.Option("--tta", help="Show the network all eight turns and flips: eight times the work.")]
Diameter = Annotated[
    float | None, typer.Option(min=0.1, help="The objects' usual diameter, pixels: sees them as large as learnt.")
]
