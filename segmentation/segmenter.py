"""Runs a model on images in one process: pixels in, labels out. The workers run the same steps through queues."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .arrays import Floats, Labels, Pixels
from .clustering.cluster import cluster
from .clustering.fields import CompactFields, Packer, unpack
from .errors import ImageTooLarge
from .models.spec import ModelSpec, read_spec, read_weights
from .models.storage import Location
from .network.inference import InferenceRunner, Input, RunInput, RunningBatch
from .network.preprocessing import to_input
from .network.resampling import resize
from .network.shape_buckets import aligned_shape
from .network.tiling import Bounds, stitch
from .network.tta import with_tta
from .rescaling import clustering_parameters, resized_shape, scale_factor

#: The type that a network computes in.
Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Segmenter:
    """A model on a device. Threads may share it; the device runs their batches one after another."""

    def __init__(self, network: nn.Module, spec: ModelSpec, device: str = "cpu", precision: Precision = "fp32") -> None:
        """Prepare `network` for inference, in place. An exported program ignores `precision`."""
        self.spec, self.device = spec, torch.device(device)
        dtype = _DTYPES[precision] if spec.architecture.supports_half else torch.float32
        network = network.eval().requires_grad_(False)
        if spec.architecture.fold_norms:
            network = spec.architecture.fold_norms(network)
        self._network = network.to(self.device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._runner = InferenceRunner(self._network, self.device, dtype, supports_padding=self.supports_padding)

    @classmethod
    def load(cls, folder: Location, device: str = "cpu", precision: Precision = "fp32") -> Segmenter:
        """Load the model in `folder`. Raises `InvalidModel` if a file is missing or damaged or does not fit."""
        spec = read_spec(folder)
        return cls(spec.architecture.load(spec, read_weights(folder, spec), device), spec, device, precision)

    @property
    def nbytes(self) -> int:
        """Bytes of device memory that the weights take."""
        return sum(tensor.nbytes for tensor in (*self._network.parameters(), *self._network.buffers()))

    @property
    def supports_padding(self) -> bool:
        """Whether inputs can be padded and share a batch with others; otherwise each runs at its own shape."""
        return self.spec.architecture.supports_padding

    def start(self, batch: list[Input], shape: tuple[int, int]) -> RunningBatch:
        """Run a batch padded to `shape`, sides multiples of 8; on a GPU, return before it is done.

        A result depends neither on `shape` nor on the other inputs, except for rounding. Raises `ValueError` if an
        input has another shape and the model does not support padding.
        """
        return self._runner.start(batch, shape)

    def finish(self, running: RunningBatch) -> list[CompactFields | Floats]:
        """Wait for a batch and return each input's result, in order. Raises `InvalidFields` if a value is NaN."""
        return self._runner.finish(running)

    def forward(self, batch: Floats) -> Floats:
        """(N, channels, h, w) inputs of one shape → raw fields (N, 2 + bandwidths + 1, h, w)."""
        shape = batch.shape[2], batch.shape[3]
        core = slice(0, shape[0]), slice(0, shape[1])
        raw = self.finish(self.start([Input(planes, core, compact=False) for planes in batch], shape))
        return np.stack([np.asarray(fields) for fields in raw])

    def fields(
        self,
        pixels: Pixels,
        *,
        tta: bool = False,
        diameter: float | None = None,
        bounds: Bounds = Bounds(),
        run: RunInput | None = None,
    ) -> bytes:
        """(H, W, C) pixels → their packed fields. Pixels that are NaN in any channel are background.

        `tta` averages over eight views; `diameter` is the objects' diameter in pixels (`rescaling`); `run` replaces
        this process's own inference (a device's queue). Raises `InvalidDiameter`, `InvalidFields`, and `ImageTooLarge`
        if the image exceeds the bounds.
        """
        shape = pixels.shape[0], pixels.shape[1]
        factor = scale_factor(self.spec, diameter)
        size = resized_shape(shape, factor, bounds.max_pixels)
        halo = self._halo(size, bounds.tile_pixels)
        planes = resize(to_input(pixels, self.spec.channels, self.spec.normalisation), size)
        packer = Packer(shape, self.spec.unit / factor, _missing(pixels))
        run = run or self._run
        stitch(planes, with_tta(run) if tta else run, packer, halo, bounds.tile_pixels)
        return packer.finish()

    def segment(
        self, pixels: Pixels, *, tta: bool = False, diameter: float | None = None, bounds: Bounds = Bounds()
    ) -> tuple[Labels, Floats]:
        """(H, W, C) pixels → labels (H, W) int32 and scores (K,) float32, identical to the queue's result.

        Options and errors are those of `fields`.
        """
        packed = self.fields(pixels, tta=tta, diameter=diameter, bounds=bounds)
        return cluster(unpack(packed), clustering_parameters(self.spec, diameter=diameter))

    def _run(self, item: Input) -> CompactFields | Floats:
        return self.finish(self.start([item], (item.planes.shape[1], item.planes.shape[2])))[0]

    def _halo(self, size: tuple[int, int], tile_pixels: int) -> int:
        """The halo of the tiles, pixels. Raises `ImageTooLarge` if the image needs tiles and the halo is unknown."""
        halo = self.spec.architecture.halo if self.spec.halo is None else self.spec.halo
        if halo is None and math.prod(aligned_shape(*size)) > tile_pixels:
            raise ImageTooLarge(
                f"{size[0]}×{size[1]} is over {tile_pixels:,} pixels, and model {self.spec.name} can't be run in "
                f"tiles: its model.toml does not say how far it looks (halo)"
            )
        return halo or 0


def _missing(pixels: Pixels) -> NDArray[np.bool_] | None:
    """(H, W): which pixels are NaN in any channel; None if none is."""
    if pixels.dtype.kind != "f" or not (missing := np.isnan(pixels)).any():
        return None
    return np.asarray(missing.any(axis=2))
