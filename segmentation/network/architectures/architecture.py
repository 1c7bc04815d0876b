"""A network architecture: how its models are loaded, run, trained and imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..preprocessing import Channels

if TYPE_CHECKING:
    from torch import nn


class NetworkSpec(Protocol):
    """The part of a `ModelSpec` that a loader needs."""

    @property
    def ref(self) -> str:
        """Name and version for error messages: `nuclei@1`."""

    @property
    def channel_count(self) -> int:
        """Channels of the network's input: 1 or 3."""

    @property
    def bandwidths(self) -> int:
        """Clustering bandwidths per pixel: 1 or 2."""


class ImportedNetwork(NamedTuple):
    """A network that was read from a foreign file."""

    channels: Channels
    bandwidths: int
    #: Contents of the weights' file in the model's folder.
    weights: bytes


@dataclass(frozen=True)
class Architecture:
    """A network architecture. Its functions import torch when they are called, not before."""

    #: The value of `network` in `model.toml`.
    name: str
    #: Name of the weights' file in a model's folder.
    weights_file: str
    #: Build the network from (spec, contents of the weights' file, device): (N, channels, H, W) float → raw fields
    #: (N, 2 + bandwidths + 1, H, W). Raises `InvalidModel`.
    load: Callable[[NetworkSpec, bytes, str], nn.Module]
    #: Convert the contents of a foreign file. Raises `InvalidCheckpoint` or `InvalidModel`.
    read_foreign: Callable[[bytes], ImportedNetwork]
    #: Suffixes of the foreign files that belong to this architecture.
    import_suffixes: tuple[str, ...] = ()
    #: Fold batch norms into the convolutions before them; None if the network is run as loaded.
    fold_norms: Callable[[nn.Module], nn.Module] | None = None
    #: Whether `forward` takes the sizes of the samples as a second argument, (N, 2), and ignores what lies beyond: then
    #: inputs of different shapes can be padded and share a batch. Otherwise each input runs at its own shape.
    supports_padding: bool = False
    #: Whether the network can be converted to bf16 or fp16; otherwise it runs in float32.
    supports_half: bool = False
    #: How far the network looks around a pixel, in pixels; None if unknown: then only a model with a `halo` of its own
    #: can be run in tiles.
    halo: int | None = None
    #: Build a network to train from (spec, margin): at first its offsets are 0, and every object's margin is `margin`
    #: grid units. None if `maskq train` can't train it.
    untrained: Callable[[NetworkSpec, float], nn.Module] | None = None
    #: Whether the weights' file is code, which workers run.
    runs_code: bool = False
