"""A model ready to run: pixels in, labels out. What the workers do in parts, on queues, this does in one go."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .arrays import Floats, Labels, Pixels
from .clustering.cluster import cluster
from .clustering.fields import Compact, Packer, unpack
from .errors import ImageTooLarge
from .models import loading
from .models import spec as model
from .models.spec import ModelSpec
from .models.storage import Location
from .network.branched_erfnet import NonBottleneck1D, Up
from .network.inference import InferenceRunner, Input, RunInput, Started
from .network.preprocessing import to_input
from .network.resampling import resize
from .network.shape_buckets import aligned_shape
from .network.tiling import HALO, Bounds, stitch
from .network.tta import augmented
from .rescaling import clustering, factor, resized

#: What a network computes in.
Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Segmenter:
    """One model on one device. Threads may share it; the device runs their batches one after another."""

    def __init__(self, network: nn.Module, spec: ModelSpec, device: str = "cpu", precision: Precision = "fp32") -> None:
        """`precision` is what the network computes in; a program runs as it was exported."""
        self.spec, self.device = spec, torch.device(device)
        dtype = _DTYPES[precision] if self.supports_padding else torch.float32
        folded = _fold_norms(network.eval().requires_grad_(False))
        self._network = folded.to(self.device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._runner = InferenceRunner(self._network, self.device, dtype, supports_padding=self.supports_padding)

    @classmethod
    def load(cls, folder: Location, device: str = "cpu", precision: Precision = "fp32") -> Segmenter:
        """The model in `folder`. Raises `InvalidModel` where its files are not whole or are not the network's."""
        spec = model.read_spec(folder)
        return cls(loading.network(spec, model.read_weights(folder, spec), device), spec, device, precision)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the weights take on the device."""
        return sum(tensor.nbytes for tensor in (*self._network.parameters(), *self._network.buffers()))

    @property
    def supports_padding(self) -> bool:
        """Whether inputs may be padded and share a batch with others; else each runs at its exact shape."""
        return self.spec.network == "branched-erfnet"

    def start(self, batch: list[Input], shape: tuple[int, int]) -> Started:
        """Run a batch padded to `shape`, sides multiples of 8; on a GPU this returns before it is done.

        What an input is answered depends neither on `shape` nor on the others, but for rounding. Raises `ValueError`
        where one has another shape and the segmenter does not mask.
        """
        return self._runner.start(batch, shape)

    def finish(self, started: Started) -> list[Compact | Floats]:
        """Wait for a batch; the answer to each input, in order. Raises `InvalidFields` where one is not a number."""
        return self._runner.finish(started)

    def forward(self, batch: Floats) -> Floats:
        """(N, channels, h, w) inputs of one shape → raw fields (N, 2 + bandwidths + 1, h, w)."""
        shape = batch.shape[2], batch.shape[3]
        whole = slice(0, shape[0]), slice(0, shape[1])
        raw = self.finish(self.start([Input(planes, whole, compact=False) for planes in batch], shape))
        return np.stack([np.asarray(one) for one in raw])

    def fields(
        self,
        pixels: Pixels,
        *,
        tta: bool = False,
        diameter: float | None = None,
        bounds: Bounds = Bounds(),
        run: RunInput | None = None,
    ) -> bytes:
        """(H, W, C) pixels → their packed fields, by way of `run` where it is given (a queue for the device).

        `tta` averages over eight views; `diameter`, pixels, is the objects' own: see `scale`. Raises `InvalidDiameter`,
        `InvalidFields`, and `ImageTooLarge` for what is over the bounds.
        """
        shape = pixels.shape[0], pixels.shape[1]
        by = factor(self.spec, diameter)
        size = resized(shape, by, bounds.max_pixels)
        halo = self._halo(size, bounds.tile_pixels)
        planes = resize(to_input(pixels, self.spec.channels, self.spec.normalisation), size)
        packer = Packer(shape, self.spec.unit / by)
        run = run or self._run
        stitch(planes, augmented(run) if tta else run, packer, halo, bounds.tile_pixels)
        return packer.finish()

    def segment(
        self, pixels: Pixels, *, tta: bool = False, diameter: float | None = None, bounds: Bounds = Bounds()
    ) -> tuple[Labels, Floats]:
        """(H, W, C) pixels → labels (H, W) int32 and scores (K,) float32: label for label what the queue gives.

        The options and errors are those of `fields`.
        """
        packed = self.fields(pixels, tta=tta, diameter=diameter, bounds=bounds)
        return cluster(unpack(packed), clustering(self.spec, diameter=diameter))

    def _run(self, given: Input) -> Compact | Floats:
        return self.finish(self.start([given], (given.planes.shape[1], given.planes.shape[2])))[0]

    def _halo(self, size: tuple[int, int], most: int) -> int:
        """How far the network looks, where that has to be known."""
        if self.spec.halo is not None:
            return self.spec.halo
        if self.spec.network == "program" and math.prod(aligned_shape(*size)) > most:
            raise ImageTooLarge(
                f"{size[0]}×{size[1]} is over {most:,} pixels, and model {self.spec.name} can't be run in tiles: "
                f"its model.toml does not say how far it looks (halo)"
            )
        return HALO


def _fold_norms(network: nn.Module) -> nn.Module:
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
