"""A user's own network: a program that `torch.export.save` wrote and that computes the same fields as ours.

Such a file is code. torch advises against untrusted files ("never load data from an untrusted source"), and unpickles
parts of them; here only plain tensors are unpickled, and a file that needs more is refused. That does not make an
untrusted program safe: its graph becomes Python code.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import InvalidModel
from ..torch_devices import is_device_error
from .architectures.architecture import NetworkSpec
from .preprocessing import Channels
from .shape_buckets import STRIDE

_GRAPH, _INPUTS = "models/model.json", "data/sample_inputs/model.pt"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
#: Beginnings of the other names in an archive: tensors as plain bytes, and the format's own small files.
_PLAIN = ("data/weights/weight_", "data/constants/tensor_", ".data/", "archive_", "byteorder", "version")
#: (N, H, W) of the inputs that a program is tried on: one and several, square and not.
_TRIAL_SHAPES = ((1, 64, 64), (3, 40, 72))


class Program(nn.Module):
    """(N, channels, H, W) float → raw fields (N, 2 + bandwidths + 1, H, W); H and W multiples of 8.

    `eval` and `to` change nothing, because mode, type and device are part of the program. Raises `InvalidModel` for an
    input that the program fails on, or a result of another shape.
    """

    def __init__(self, module: nn.Module, channels: int, fields: int) -> None:
        super().__init__()
        self._module, self._channels, self._fields = module, channels, fields

    @classmethod
    def load(cls, data: bytes, spec: NetworkSpec, device: str = "cpu") -> Program:
        """Load the bytes of a `.pt2` file and try the program on small inputs. Raises `InvalidModel`."""
        exported = _read(data)
        if device != "cpu":
            from torch.export.passes import move_to_device_pass

            exported = move_to_device_pass(exported, device)
        program = cls(exported.module(), spec.channel_count, 3 + spec.bandwidths)
        for n, height, width in _TRIAL_SHAPES:
            program(torch.zeros(n, spec.channel_count, height, width, device=device))
        return program

    def forward(self, x: Tensor) -> Tensor:
        try:
            # `view` in a program may fail on channels_last strides, which one channel keeps through `contiguous`.
            fields = self._module(x.clone(memory_format=torch.contiguous_format))
        except Exception as error:  # a program can raise any type
            if is_device_error(error):
                raise
            raise InvalidModel(
                f"the program does not take {_shape(x)}, as any multiple of {STRIDE}: {error}"
            ) from error
        if not isinstance(fields, Tensor) or fields.shape != (len(x), self._fields, *x.shape[2:]):
            result = _shape(fields) if isinstance(fields, Tensor) else type(fields).__name__
            raise InvalidModel(f"of {_shape(x)} the program makes {result}, not {self._fields} fields of that size")
        return fields

    def train(self, mode: bool = True) -> Program:
        """Change nothing."""
        return self

    def _apply(self, *_: Any, **__: Any) -> Program:
        return self


def inspect(data: bytes) -> tuple[Channels, int]:
    """Read a program's input channels and number of bandwidths from its graph. Raises `InvalidModel`."""
    program = _read(data)
    names = [*program.graph_signature.user_inputs, *program.graph_signature.user_outputs]
    values = [node.meta.get("val") for node in program.graph.nodes if node.name in names]
    if len(values) != 2 or any(not isinstance(value, Tensor) or value.dim() != 4 for value in values):
        raise InvalidModel("the program must take one (N, channels, H, W) tensor and give one (N, fields, H, W)")
    channels, fields = (int(value.shape[1]) for value in cast(list[Tensor], values))
    if channels not in (1, 3) or fields not in (4, 5):
        raise InvalidModel(f"the program takes {channels} channels and gives {fields} fields; 1 or 3 and 4 or 5 belong")
    return ("grey" if channels == 1 else "rgb"), fields - 3


def _read(data: bytes) -> torch.export.ExportedProgram:
    try:
        _refuse_pickles(data)
        return torch.export.load(io.BytesIO(data))
    except InvalidModel:
        raise
    except Exception as error:  # untrusted bytes: torch and zipfile raise many types
        raise InvalidModel(f"not a program that torch {torch.__version__} takes: {error}") from error


def _refuse_pickles(data: bytes) -> None:
    """Raise `InvalidModel` if `torch.export.load` would unpickle more of the archive than tensors.

    It unpickles tensors marked `use_pickle`, custom objects, sample inputs that don't load with `weights_only`, and
    everything in an archive of the older format, which has a file `version` at its top level.
    """
    from torch.export.pt2_archive import PT2ArchiveReader

    archive = PT2ArchiveReader(io.BytesIO(data))
    for name in archive.get_file_names():
        if name not in (_GRAPH, _INPUTS, *_CONFIGS) and not name.startswith(_PLAIN):
            raise InvalidModel(f"the program holds {name}; only graphs and tensors are taken")
    for name in _CONFIGS:
        for tensor, config in json.loads(archive.read_string(name))["config"].items():
            if config["use_pickle"] or not f"{name.rpartition('/')[0]}/{config['path_name']}".startswith(_PLAIN):
                raise InvalidModel(f"the program holds {tensor} as a pickle; only plain tensors are taken")
    torch.load(io.BytesIO(archive.read_bytes(_INPUTS)), weights_only=True)
    with zipfile.ZipFile(io.BytesIO(data)) as archive_file:
        if "version" in archive_file.namelist():
            raise InvalidModel("the program is of an older format, which holds pickles")


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))
