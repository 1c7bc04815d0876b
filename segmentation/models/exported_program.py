"""A network of the user's own: a program that `torch.export.save` wrote, giving the same fields as ours.

Such a file is code. torch promises nothing for one from a stranger ("never load data from an untrusted source"), and
unpickles what it finds in one; here nothing is unpickled but plain tensors, and a file that asks for more is refused.
That does not make a stranger's program safe: its graph becomes Python.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import InvalidModel
from ..network.preprocessing import Channels
from ..network.shape_buckets import STRIDE
from ..torch_devices import at_fault
from .spec import ModelSpec

_GRAPH, _INPUTS = "models/model.json", "data/sample_inputs/model.pt"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
#: What else an archive holds: tensors as plain bytes, and the format's own few words.
_PLAIN = ("data/weights/weight_", "data/constants/tensor_", ".data/", "archive_", "byteorder", "version")
#: (N, H, W) of inputs that a program has to take: alone and together, square and not.
_TRIALS = ((1, 64, 64), (3, 40, 72))


class Program(nn.Module):
    """(N, channels, H, W) float → raw fields (N, 2 + bandwidths + 1, H, W); H and W multiples of 8.

    Stays as it was exported: what `eval` and `to` would change is part of the program. Raises `InvalidModel` for a
    shape that the program does not take or answer.
    """

    def __init__(self, module: nn.Module, channels: int, fields: int) -> None:
        super().__init__()
        self._module, self._channels, self._fields = module, channels, fields

    @classmethod
    def load(cls, data: bytes, spec: ModelSpec, device: str = "cpu") -> Program:
        """The program in a `.pt2` file, tried on small inputs. Raises `InvalidModel`."""
        made = cls(_module(data, device), spec.channel_count, 3 + spec.bandwidths)
        for n, height, width in _TRIALS:
            made(torch.zeros(n, spec.channel_count, height, width, device=device))
        return made

    def forward(self, x: Tensor) -> Tensor:
        try:
            # Views in a program need not suit channels_last, whose strides one channel keeps through `contiguous`.
            fields = self._module(x.clone(memory_format=torch.contiguous_format))
        except Exception as error:  # a program may raise anything
            if at_fault(error):
                raise
            raise InvalidModel(f"the program does not take {_said(x)}, as any multiple of {STRIDE}: {error}") from error
        if not isinstance(fields, Tensor) or fields.shape != (len(x), self._fields, *x.shape[2:]):
            got = _said(fields) if isinstance(fields, Tensor) else type(fields).__name__
            raise InvalidModel(f"of {_said(x)} the program makes {got}, not {self._fields} fields of that size")
        return fields

    def train(self, mode: bool = True) -> Program:
        """Nothing to change."""
        return self

    def _apply(self, *_: Any, **__: Any) -> Program:
        return self


def inspect(data: bytes) -> tuple[Channels, int]:
    """The channels that a program takes and the bandwidths that it gives, as its graph says. Raises `InvalidModel`."""
    program = _read(data)
    ends = [*program.graph_signature.user_inputs, *program.graph_signature.user_outputs]
    values = [node.meta.get("val") for node in program.graph.nodes if node.name in ends]
    if len(values) != 2 or any(not isinstance(value, Tensor) or value.dim() != 4 for value in values):
        raise InvalidModel("the program must take one (N, channels, H, W) tensor and give one (N, fields, H, W)")
    channels, fields = (int(value.shape[1]) for value in cast(list[Tensor], values))
    if channels not in (1, 3) or fields not in (4, 5):
        raise InvalidModel(f"the program takes {channels} channels and gives {fields} fields; 1 or 3 and 4 or 5 belong")
    return ("grey" if channels == 1 else "rgb"), fields - 3


def _module(data: bytes, device: str) -> nn.Module:
    program = _read(data)
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module()


def _read(data: bytes) -> torch.export.ExportedProgram:
    try:
        _refuse_pickles(data)
        return torch.export.load(io.BytesIO(data))
    except InvalidModel:
        raise
    except Exception as error:  # bytes that anyone may have written, read by much code
        raise InvalidModel(f"not a program that torch {torch.__version__} takes: {error}") from error


def _refuse_pickles(data: bytes) -> None:
    """Nothing in the archive makes `torch.export.load` unpickle more than tensors. Raises `InvalidModel`.

    It unpickles tensors that say `use_pickle`, custom objects, and sample inputs that won't load as weights alone; and
    an archive of the older format, which has a file `version` at its top, entirely.
    """
    from torch.export.pt2_archive import PT2ArchiveReader

    archive = PT2ArchiveReader(io.BytesIO(data))
    for name in archive.get_file_names():
        if name not in (_GRAPH, _INPUTS, *_CONFIGS) and not name.startswith(_PLAIN):
            raise InvalidModel(f"the program holds {name}; only graphs and tensors are taken")
    for name in _CONFIGS:
        for tensor, how in json.loads(archive.read_string(name))["config"].items():
            if how["use_pickle"] or not f"{name.rpartition('/')[0]}/{how['path_name']}".startswith(_PLAIN):
                raise InvalidModel(f"the program holds {tensor} as a pickle; only plain tensors are taken")
    torch.load(io.BytesIO(archive.read_bytes(_INPUTS)), weights_only=True)
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        if "version" in found.namelist():
            raise InvalidModel("the program is of an older format, which holds pickles")


def _said(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))
