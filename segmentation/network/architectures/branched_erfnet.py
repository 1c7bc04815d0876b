"""The published network: two decoders on one encoder (`network.branched_erfnet`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .architecture import Architecture, ImportedNetwork, NetworkSpec

if TYPE_CHECKING:
    from torch import nn

#: How far the network looks beyond the cells of 8×8 pixels in which its coarsest features lie, in pixels: 68 cells in
#: the dilated blocks, 3 in the decoders, and 47 pixels, so 48, in the encoder before them.
HALO = 616


def _load(spec: NetworkSpec, weights: bytes, device: str) -> nn.Module:
    from ..branched_erfnet import load_network

    return load_network(spec.channel_count, spec.bandwidths, weights, spec.ref).to(device)


def _untrained(spec: NetworkSpec, margin: float) -> nn.Module:
    from ..branched_erfnet import BranchedERFNet

    network = BranchedERFNet(spec.channel_count, spec.bandwidths)
    network.init_output_layer(margin)
    return network


def _fold_norms(network: nn.Module) -> nn.Module:
    from ..branched_erfnet import fold_norms

    return fold_norms(network)


def _read_checkpoint(data: bytes) -> ImportedNetwork:
    from ..published_checkpoint import read_checkpoint

    return read_checkpoint(data)


BRANCHED_ERFNET = Architecture(
    name="branched-erfnet",
    weights_file="weights.safetensors",
    load=_load,
    read_foreign=_read_checkpoint,
    fold_norms=_fold_norms,
    supports_padding=True,
    supports_half=True,
    halo=HALO,
    untrained=_untrained,
)
