"""What `maskq models` does."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .. import model as models_

console = Console()


def models(folders: tuple[Path, ...], as_json: bool) -> int:
    """List every model."""
    table = Table("model", "what it is for", "input", "trained on", "licence")
    for spec in models_.available(folders):
        if as_json:
            print(json.dumps(spec.model_dump()))
        else:
            wants = f"{spec.channels}, {spec.normalisation}"
            table.add_row(f"{spec.name}@{spec.version}", spec.summary, wants, spec.trained_on, spec.licence)
    if not as_json:
        console.print(table)
    return 0
