"""Weights in safetensors format → a network."""

from __future__ import annotations

from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from ..errors import InvalidModel

Network = TypeVar("Network", bound=nn.Module)


def load_weights(network: Network, weights: bytes, ref: str) -> Network:
    """Fill `network` with `weights`, as float32, and return it; batch counters of norms may be missing.

    Raises `InvalidModel`, which names the model `ref`, if the weights don't fit.
    """
    try:
        tensors = {name: tensor.float() for name, tensor in load(weights).items()}
        result = network.load_state_dict(tensors, strict=False)
    except (SafetensorError, RuntimeError, KeyError) as error:  # KeyError: a type that torch does not have
        raise InvalidModel(f"{ref}: weights that don't fit the network: {error}") from error
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        unknown = result.unexpected_keys[:3]
        raise InvalidModel(f"{ref}: weights without {missing[:3]} or with unknown {unknown}")
    return network
