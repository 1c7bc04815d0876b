"""A user's own network, as a program that `torch.export.save` wrote (`network.exported_program`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .architecture import Architecture, ImportedNetwork, NetworkSpec

if TYPE_CHECKING:
    from torch import nn


def _load(spec: NetworkSpec, weights: bytes, device: str) -> nn.Module:
    from ..exported_program import Program

    return Program.load(weights, spec, device)


def _read_program(data: bytes) -> ImportedNetwork:
    from ..exported_program import inspect

    return ImportedNetwork(*inspect(data), data)


EXPORTED_PROGRAM = Architecture(
    name="program",
    weights_file="program.pt2",
    load=_load,
    read_foreign=_read_program,
    import_suffixes=(".pt2",),
    runs_code=True,
)
