"""A model ready to run: pixels in, labels out. What the workers do in parts, on queues, this does in one go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from . import model
from .clustering import Labels, cluster
from .errors import InvalidModel
from .fields import Floats, pack, unpack
from .images import Pixels
from .inputs import pad, to_input
from .model import ModelSpec
from .network import BranchedERFNet, NonBottleneck1D, Up


class Segmenter:
    """One model on one device. Threads may share it; the device runs their batches one after another."""

    def __init__(self, network: BranchedERFNet, spec: ModelSpec, device: str = "cpu") -> None:
        self.spec, self.device = spec, torch.device(device)
        folded = _fold_norms(network.eval().requires_grad_(False))
        self._network = folded.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Segmenter:
        """The model in `folder`. Raises `InvalidModel` where its files are not whole."""
        spec = model.read_spec(folder)
        network = BranchedERFNet(spec.channel_count, spec.bandwidths)
        try:
            tensors = {name: tensor.float() for name, tensor in load_tensors(model.read_weights(folder)).items()}
            found = network.load_state_dict(tensors, strict=False)
        except (SafetensorError, RuntimeError) as error:
            raise InvalidModel(f"{folder}: weights that don't fit the network: {error}") from error
        missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
        if missing or found.unexpected_keys:
            raise InvalidModel(f"{folder}: weights without {missing[:3]} or with unknown {found.unexpected_keys[:3]}")
        return cls(network, spec, device)

    def prepare(self, pixels: Pixels) -> Floats:
        """(H, W, C) pixels → (channels, h, w) float32, padded to the ladder of shapes."""
        return pad(to_input(pixels, self.spec.channels, self.spec.normalisation))

    @torch.inference_mode()
    def forward(self, batch: NDArray[np.float32]) -> Floats:
        """(N, channels, h, w) inputs of one shape → raw fields (N, 2 + bandwidths + 1, h, w)."""
        tensor = torch.from_numpy(batch).to(self.device, memory_format=torch.channels_last)
        fields: Floats = self._network(tensor).float().contiguous().numpy(force=True)
        return fields

    def pack(self, raw: Floats, height: int, width: int) -> bytes:
        """Padded raw fields of one image → the packed fields of its height × width pixels."""
        return pack(raw[:, :height, :width], self.spec.unit)

    def segment(self, pixels: Pixels) -> tuple[Labels, Floats]:
        """(H, W, C) pixels → labels (H, W) int32 and scores (K,) float32: label for label what the queue gives."""
        packed = self.pack(self.forward(self.prepare(pixels)[None])[0], *pixels.shape[:2])
        return cluster(unpack(packed), self.spec.clustering())


def _fold_norms(network: BranchedERFNet) -> BranchedERFNet:
    """Batch norms folded into the convolutions before them: the same function with fewer passes over memory."""
    for block in network.modules():
        if isinstance(block, NonBottleneck1D):
            block.conv2, block.norm1 = _fused(block.conv2, block.norm1)
            block.conv4, block.norm2 = _fused(block.conv4, block.norm2)
        elif isinstance(block, Up):
            block.conv = fuse_conv_bn_eval(block.conv, block.norm, transpose=True)
            block.norm = nn.Identity()  # type: ignore[assignment]
    return network


def _fused(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return fuse_conv_bn_eval(convolution, norm), nn.Identity()  # type: ignore[return-value]
