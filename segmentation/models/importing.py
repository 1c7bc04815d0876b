"""A network from elsewhere → a model's folder: a checkpoint as the papers' authors publish them, or a program.

A published checkpoint is what `torch.save` wrote of `{"model_state_dict": …}`, beside which other things may stand.
Its keys begin with `module.` where several GPUs trained it. The encoder is `encoder.initial_block`, `encoder.layers.N`
and an unused `encoder.output_conv`; the decoders are `decoders.0` (offsets, then bandwidths) and `decoders.1` (seeds).
The street and the microscopy version differ only in shapes: input channels and bandwidths. Blocks are named as in
ERFNet (Romera et al. 2018).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from ..errors import InvalidCheckpoint
from ..network.branched_erfnet import BranchedERFNet
from ..network.preprocessing import Channels
from . import exported_program as program
from . import spec as model
from .registry import refuse_existing
from .spec import ModelSpec
from .storage import read

#: 1 unit of the published grid, linspace(0, 1, 1024), has 1,023 steps of a pixel. The street version's x axis,
#: linspace(0, 2, 2048), has 1,023.5: an eighth of a pixel of difference across an object of 500.
PUBLISHED_UNIT = 1023.0
_UNUSED = {"encoder.output_conv.weight", "encoder.output_conv.bias"}
#: How many batches a norm has seen: only training asks.
_COUNTER = ".num_batches_tracked"
#: Our names of what a block holds → ERFNet's.
_WITHIN = {
    "norm": "bn",
    "conv1": "conv3x1_1",
    "conv2": "conv1x3_1",
    "norm1": "bn1",
    "conv3": "conv3x1_2",
    "conv4": "conv1x3_2",
    "norm2": "bn2",
}
#: Numbers of numpy's stand beside the weights in some checkpoints; loading them runs no code.
_NUMBERS: list[Any] = [
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")),
]


@dataclass(frozen=True)
class Imported:
    """A network read from a file: the weights as a model's folder has them, and what they say of themselves."""

    weights: bytes
    about: Mapping[str, Any]


def read_file(file: Path) -> Imported:
    """The network in a file: a program where it ends in `.pt2`, else a checkpoint.

    Raises `InvalidCheckpoint`, or `InvalidModel` for a program and for what can't be read.
    """
    data = read(file, model.MOST_WEIGHTS)
    if file.suffix == ".pt2":
        channels, bandwidths = program.inspect(data)
        weights, network = data, "program"
    else:
        channels, bandwidths, weights = read_checkpoint(data)
        network = "branched-erfnet"
    source = f"{file.name}, sha256 {hashlib.sha256(data).hexdigest()}"
    return Imported(weights, {"network": network, "channels": channels, "bandwidths": bandwidths, "source": source})


def write_new(out: Path, spec: ModelSpec, weights: bytes) -> Path:
    """Write `out/NAME/VERSION` and return it. Raises `ModelExists` where `out` has that version already."""
    refuse_existing(out, spec.name, spec.version)
    folder = out / spec.name / str(spec.version)
    model.write(folder, spec, weights)
    return folder


def read_checkpoint(data: bytes) -> tuple[Channels, int, bytes]:
    """A published checkpoint's bytes → channels, bandwidths, and the weights as safetensors in float32: as they were
    trained, so that the import changes no result; a half would be smaller, and ours is 9 MB.

    Every entry is accounted for. Raises `InvalidCheckpoint`; nothing in the file is run.
    """
    found = _state(data)
    channels, bandwidths = _shape_of(found, "encoder.initial_block.conv.weight", 1), _bandwidths(found)
    if channels not in (1, 3):
        raise InvalidCheckpoint(f"its input has {channels} channels; 1 or 3 belong")
    network = BranchedERFNet(channels, bandwidths)
    wanted = {published_name(ours): (ours, tensor) for ours, tensor in network.state_dict().items()}
    needed = {name: pair for name, pair in wanted.items() if not name.endswith(_COUNTER)}
    _account(found, set(needed), set(wanted) | _UNUSED)
    state = {ours: _fitting(found[name], like, name) for name, (ours, like) in needed.items()}
    return ("grey" if channels == 1 else "rgb"), bandwidths, save(state)


def published_name(ours: str) -> str:
    """The published name of an entry of our network's state: `seed.6.bias` → `decoders.1.output_conv.bias`."""
    part, number, *within, last = ours.split(".")
    block = ".".join([*(_WITHIN.get(name, name) for name in within), last])
    if part == "encoder":
        return f"encoder.initial_block.{block}" if number == "0" else f"encoder.layers.{int(number) - 1}.{block}"
    decoder = f"decoders.{('instance', 'seed').index(part)}"
    return f"{decoder}.output_conv.{block}" if number == "6" else f"{decoder}.layers.{number}.{block}"


def _state(data: bytes) -> dict[str, Tensor]:
    """The checkpoint's state by published name, without the prefix that DataParallel puts before every one."""
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that anyone may have written: torch raises a dozen types
        reason = str(error).partition("\n")[0]
        raise InvalidCheckpoint(f"not a checkpoint that can be loaded as weights alone: {reason}") from error
    state = loaded.get("model_state_dict", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not state or not all(isinstance(name, str) for name in state):
        raise InvalidCheckpoint("the file holds no model_state_dict of named tensors")
    odd = [name for name, tensor in state.items() if not _plain(tensor)]
    if odd:
        raise InvalidCheckpoint(f"these entries are no plain tensors: {_some(odd)}")
    bare = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if len(bare) < len(state):
        raise InvalidCheckpoint("the file holds some entries twice, with the prefix module. and without")
    return bare


def _plain(entry: object) -> bool:
    """Whether it is a tensor of numbers that are all there: not sparse, quantized, nested, complex or without data."""
    if not isinstance(entry, Tensor) or entry.layout is not torch.strided or entry.is_nested:
        return False
    return entry.device.type == "cpu" and not entry.is_quantized and not entry.is_complex()


def _shape_of(found: Mapping[str, Tensor], name: str, axis: int) -> int:
    if name not in found or found[name].dim() != 4:
        raise InvalidCheckpoint(f"not a branched ERFNet as published: it has no four-dimensional {name}")
    return found[name].shape[axis]


def _bandwidths(found: Mapping[str, Tensor]) -> int:
    width = _shape_of(found, "decoders.0.output_conv.weight", 1)
    if width not in (3, 4):
        raise InvalidCheckpoint(f"decoder 0 gives {width} fields; 2 offsets and 1 or 2 bandwidths belong")
    return width - 2


def _account(found: Mapping[str, Tensor], needed: set[str], known: set[str]) -> None:
    """Nothing that is needed is missing, and there is nothing that is not known."""
    wrong = {"missing": sorted(needed - found.keys()), "unknown": sorted(found.keys() - known)}
    told = " and ".join(f"{len(names)} {what} ({_some(names)})" for what, names in wrong.items() if names)
    if told:
        raise InvalidCheckpoint(f"not a branched ERFNet as published: of its entries are {told}")


def _fitting(tensor: Tensor, like: Tensor, name: str) -> Tensor:
    if tensor.shape != like.shape:
        raise InvalidCheckpoint(f"{name} has the shape {tuple(tensor.shape)} where {tuple(like.shape)} belongs")
    kept = tensor.float().contiguous()
    if not bool(kept.isfinite().all()):
        raise InvalidCheckpoint(f"{name} holds values that are NaN or infinite, or beyond float32")
    return kept


def _some(names: list[str]) -> str:
    return ", ".join(name[:80] for name in names[:3]) + (", …" if len(names) > 3 else "")
