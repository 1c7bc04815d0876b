"""A model's spec and the bytes of its weights → the network, on its device."""

from __future__ import annotations

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from ..errors import InvalidModel
from ..network.branched_erfnet import BranchedERFNet
from .exported_program import Program
from .spec import ModelSpec


def network(spec: ModelSpec, weights: bytes, device: str = "cpu") -> nn.Module:
    """(N, channels, H, W) → raw fields (N, 2 + bandwidths + 1, H, W). Raises `InvalidModel`."""
    if spec.network == "program":
        return Program.load(weights, spec, device)
    return _branched_erfnet(spec, weights).to(device)


def _branched_erfnet(spec: ModelSpec, weights: bytes) -> BranchedERFNet:
    made = BranchedERFNet(spec.channel_count, spec.bandwidths)
    try:
        tensors = {name: tensor.float() for name, tensor in load_tensors(weights).items()}
        found = made.load_state_dict(tensors, strict=False)
    except (SafetensorError, RuntimeError, KeyError) as error:  # KeyError: a type that torch does not have
        raise InvalidModel(f"{spec.ref}: weights that don't fit the network: {error}") from error
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        unknown = found.unexpected_keys[:3]
        raise InvalidModel(f"{spec.ref}: weights without {missing[:3]} or with unknown {unknown}")
    return made
