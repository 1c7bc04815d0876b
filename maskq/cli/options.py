"""Options that several commands share, and the settings that some of them override."""

from pathlib import Path
from typing import Annotated, Any

import typer

from maskq.producer.formats.registry import FORMATS
from maskq.producer.settings import Settings

from .writable import output_folder

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
Model = Annotated[str, typer.Option("--model", "-m", help="The model: see `maskq models`.")]
Devices = Annotated[
    str | None, typer.Option("--devices", help="cpu, cuda, cuda:0=on,cuda:1=auto …; default: MASKQ_DEVICES, or auto.")
]
Processes = Annotated[
    int | None, typer.Option("--cluster-processes", min=1, help="Clustering processes; default: half the cores.")
]
Address = Annotated[str, typer.Option(help="The address to listen on.")]
Paths = Annotated[list[str], typer.Argument(help="Image files, folders and glob patterns.", metavar="PATH")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Folders with their subfolders.")]
Out = Annotated[Path, typer.Option("--out", "-o", callback=output_folder, help="The folder to write to.")]
FormatNames = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="NAME,…",
        help=f"The files to write: {', '.join(FORMATS)}; see docs/formats.md.",
    ),
]
Simplify = Annotated[
    float, typer.Option(min=0, help="Leave out corners of polygons that are nearer than this to the rest, pixels.")
]
Priority = Annotated[int, typer.Option("--priority", "-p", min=0, max=9, help="Jobs of a higher priority go first.")]
JobIds = Annotated[list[str], typer.Argument(help="Job ids, as printed by `maskq submit`.", metavar="JOB")]
SeedThreshold = Annotated[
    float | None, typer.Option(min=0.5, max=1, help="Minimum seediness of a pixel that starts an object.")
]
MinPixels = Annotated[int | None, typer.Option(min=0, help="Drop objects that have no more pixels than this.")]
Tta = Annotated[
    bool, typer.Option("--tta", help="Test-time augmentation by all 8 rotations and flips: 8 times the work.")
]
Diameter = Annotated[
    float | None,
    typer.Option(min=0.1, help="Typical object diameter, pixels: images are resized to the model's training scale."),
]


def read_settings(**overrides: Any) -> Settings:
    """The environment's settings, overridden by the arguments that aren't None. Raises `ValidationError`."""
    return Settings(**{name: value for name, value in overrides.items() if value is not None})
