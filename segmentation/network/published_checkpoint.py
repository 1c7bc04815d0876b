"""Reads a checkpoint of the branched ERFNet as the papers' authors publish them.

Such a file is what `torch.save` wrote of `{"model_state_dict": …}`, possibly with other entries. Its keys begin with
`module.` if it was trained on several GPUs. The encoder is `encoder.initial_block`, `encoder.layers.N` and an unused
`encoder.output_conv`; the decoders are `decoders.0` (offsets, then bandwidths) and `decoders.1` (seeds). The street and
the microscopy version differ in shapes only: input channels and bandwidths. Blocks are named as in ERFNet (Romera et
al. 2018).
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from ..errors import InvalidCheckpoint
from .architectures.architecture import ImportedNetwork
from .branched_erfnet import BranchedERFNet

_UNUSED = {"encoder.output_conv.weight", "encoder.output_conv.bias"}
#: Number of batches that a norm has seen; only training needs it.
_COUNTER = ".num_batches_tracked"
#: Our names of a block's layers → ERFNet's.
_LAYER_NAMES = {
    "norm": "bn",
    "conv1": "conv3x1_1",
    "conv2": "conv1x3_1",
    "norm1": "bn1",
    "conv3": "conv3x1_2",
    "conv4": "conv1x3_2",
    "norm2": "bn2",
}
#: Some checkpoints contain numpy numbers too; loading them runs no code.
_NUMPY_SCALARS: list[Any] = [
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")),
]


def read_checkpoint(data: bytes) -> ImportedNetwork:
    """Convert a published checkpoint; its weights become safetensors in float32.

    They stay as trained, so that the import changes no result; float16 would be smaller, and ours is 9 MB. No code in
    the file is run. Raises `InvalidCheckpoint`, also if an entry is missing or unknown.
    """
    entries = _load_state(data)
    channels = _channels(entries, "encoder.initial_block.conv.weight")
    fields = _channels(entries, "decoders.0.output_conv.weight")
    if fields not in (3, 4):
        raise InvalidCheckpoint(f"decoder 0 gives {fields} fields; 2 offsets and 1 or 2 bandwidths belong")
    if channels not in (1, 3):
        raise InvalidCheckpoint(f"its input has {channels} channels; 1 or 3 belong")
    network = BranchedERFNet(channels, fields - 2)
    known = {published_name(name): (name, tensor) for name, tensor in network.state_dict().items()}
    needed = {published: pair for published, pair in known.items() if not published.endswith(_COUNTER)}
    _check_names(entries, set(needed), set(known) | _UNUSED)
    state = {name: _convert(entries[published], like, published) for published, (name, like) in needed.items()}
    return ImportedNetwork("grey" if channels == 1 else "rgb", fields - 2, save(state))


def published_name(name: str) -> str:
    """The published name of an entry of our network's state: `seed.6.bias` → `decoders.1.output_conv.bias`."""
    part, number, *layers, last = name.split(".")
    block = ".".join([*(_LAYER_NAMES.get(layer, layer) for layer in layers), last])
    if part == "encoder":
        return f"encoder.initial_block.{block}" if number == "0" else f"encoder.layers.{int(number) - 1}.{block}"
    decoder = f"decoders.{('instance', 'seed').index(part)}"
    return f"{decoder}.output_conv.{block}" if number == "6" else f"{decoder}.layers.{number}.{block}"


def _load_state(data: bytes) -> dict[str, Tensor]:
    """The checkpoint's entries by published name, without the prefix that DataParallel adds."""
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # untrusted bytes: torch raises a dozen types
        reason = str(error).partition("\n")[0]
        raise InvalidCheckpoint(f"not a checkpoint that can be loaded as weights alone: {reason}") from error
    state = loaded.get("model_state_dict", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not state or not all(isinstance(name, str) for name in state):
        raise InvalidCheckpoint("the file holds no model_state_dict of named tensors")
    invalid = [name for name, tensor in state.items() if not _is_plain(tensor)]
    if invalid:
        raise InvalidCheckpoint(f"these entries are no plain tensors: {_first(invalid)}")
    entries = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if len(entries) < len(state):
        raise InvalidCheckpoint("the file holds some entries twice, with the prefix module. and without")
    return entries


def _is_plain(entry: object) -> bool:
    """Whether it is a dense real tensor with data: not sparse, quantized, nested, complex or on the meta device."""
    if not isinstance(entry, Tensor) or entry.layout is not torch.strided or entry.is_nested:
        return False
    return entry.device.type == "cpu" and not entry.is_quantized and not entry.is_complex()


def _channels(entries: Mapping[str, Tensor], name: str) -> int:
    if name not in entries or entries[name].dim() != 4:
        raise InvalidCheckpoint(f"not a branched ERFNet as published: it has no four-dimensional {name}")
    return entries[name].shape[1]


def _check_names(entries: Mapping[str, Tensor], needed: set[str], known: set[str]) -> None:
    """Raise `InvalidCheckpoint` if a needed entry is missing or an entry is unknown."""
    wrong = {"missing": sorted(needed - entries.keys()), "unknown": sorted(entries.keys() - known)}
    message = " and ".join(f"{len(names)} {kind} ({_first(names)})" for kind, names in wrong.items() if names)
    if message:
        raise InvalidCheckpoint(f"not a branched ERFNet as published: of its entries are {message}")


def _convert(tensor: Tensor, like: Tensor, name: str) -> Tensor:
    if tensor.shape != like.shape:
        raise InvalidCheckpoint(f"{name} has the shape {tuple(tensor.shape)} where {tuple(like.shape)} belongs")
    weights = tensor.float().contiguous()
    if not bool(weights.isfinite().all()):
        raise InvalidCheckpoint(f"{name} holds values that are NaN or infinite, or beyond float32")
    return weights


def _first(names: list[str]) -> str:
    return ", ".join(name[:80] for name in names[:3]) + (", …" if len(names) > 3 else "")
