"""What `maskq models import` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from maskq.segmentation.models import importing
from maskq.segmentation.models.spec import ModelSpec

from .models import check

stderr = Console(stderr=True, highlight=False, markup=False)


def import_(file: Path, out: Path, given: dict[str, Any]) -> int:
    """A checkpoint or program → a model's folder, checked; what its weights don't say of themselves is `given`."""
    found = importing.read_file(file)
    chosen = {key: value for key, value in given.items() if value is not None}
    normalisation = "unit" if found.about["channels"] == "rgb" else "percentile"
    about: dict[str, Any] = {"normalisation": normalisation, "unit": importing.PUBLISHED_UNIT}
    spec = ModelSpec.model_validate(about | dict(found.about) | chosen)
    folder = importing.write_new(out, spec, found.weights)
    stderr.print(f"{folder}: {spec.channels}, {spec.bandwidths} bandwidths; use it with MASKQ_MODELS={out}")
    if spec.network == "program":
        stderr.print("a program is code that the workers will run: import only what you trust")
    return check([str(folder)], (), as_json=False)
