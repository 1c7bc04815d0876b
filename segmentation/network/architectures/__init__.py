"""The network architectures that a model's `model.toml` can name. Importing them does not import torch.

A new architecture is one file in this folder and one entry in `ARCHITECTURES`.
"""

from .architecture import Architecture
from .branched_erfnet import BRANCHED_ERFNET
from .exported_program import EXPORTED_PROGRAM

__all__ = ["ARCHITECTURES", "BRANCHED_ERFNET", "EXPORTED_PROGRAM", "Architecture", "importer_of"]

#: By name, as in `model.toml`.
ARCHITECTURES = {architecture.name: architecture for architecture in (BRANCHED_ERFNET, EXPORTED_PROGRAM)}


def importer_of(suffix: str) -> Architecture:
    """Return the architecture that imports files with this suffix (`.pt2`); by default the branched ERFNet."""
    return next((known for known in ARCHITECTURES.values() if suffix in known.import_suffixes), BRANCHED_ERFNET)
