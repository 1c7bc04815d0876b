"""Import a network from elsewhere as a model's folder: a published checkpoint, or an exported program."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..network.architectures import importer_of
from . import spec as model
from .registry import refuse_existing
from .spec import ModelSpec, write_model
from .storage import read_limited

#: 1 unit of the published grid, linspace(0, 1, 1024), has 1,023 steps of a pixel. The street version's x axis,
#: linspace(0, 2, 2048), has 1,023.5: an eighth of a pixel of difference across an object of 500.
PUBLISHED_UNIT = 1023.0


@dataclass(frozen=True)
class ImportedModel:
    """Weights in the format of a model's folder, and the fields of `ModelSpec` that the imported file determines."""

    weights: bytes
    spec_fields: Mapping[str, Any]


def import_file(file: Path) -> ImportedModel:
    """Read the network in a file: an exported program if its suffix is `.pt2`, else a published checkpoint.

    Raises `InvalidCheckpoint`, or `InvalidModel` for a program or if the file can't be read.
    """
    data = read_limited(file, model.MAX_WEIGHTS_BYTES)
    architecture = importer_of(file.suffix)
    channels, bandwidths, weights = architecture.read_foreign(data)
    source = f"{file.name}, sha256 {hashlib.sha256(data).hexdigest()}"
    return ImportedModel(
        weights, {"network": architecture.name, "channels": channels, "bandwidths": bandwidths, "source": source}
    )


def add_version(out: Path, spec: ModelSpec, weights: bytes) -> Path:
    """Write `out/NAME/VERSION` and return it. Raises `ModelExists` if `out` has that version already."""
    refuse_existing(out, spec.name, spec.version)
    folder = out / spec.name / str(spec.version)
    write_model(folder, spec, weights)
    return folder
