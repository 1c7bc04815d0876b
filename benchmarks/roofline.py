"""The work of the network, layer by layer, and the peak performance of a device.

The ceiling is the roofline of each convolution by itself (Williams et al. 2009): the longer of its arithmetic at the
rate of a large matrix product and its memory traffic at the rate of a large copy, both measured. Norms and ReLUs are
assumed to cost nothing, as if they were computed while a convolution's output is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from maskq.segmentation.network.branched_erfnet import BranchedERFNet


@dataclass(frozen=True)
class Layer:
    """One convolution on one batch."""

    #: Floating point operations; a multiplication and an addition are two.
    flops: float
    #: Numbers read and written: input, weights and output, each once.
    values: float


@dataclass(frozen=True)
class Peak:
    """The measured peak performance of a device."""

    flops_per_s: float
    bytes_per_s: float

    def seconds(self, layers: list[Layer], itemsize: int) -> float:
        """Return the minimum time of these layers for numbers of `itemsize` bytes, seconds."""
        return sum(max(layer.flops / self.flops_per_s, layer.values * itemsize / self.bytes_per_s) for layer in layers)


def layers(channels: int, bandwidths: int, batch: int, shape: tuple[int, int]) -> list[Layer]:
    """List the convolutions of the branched ERFNet on (batch, channels, *shape) without computing them."""
    convolutions: list[Layer] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight: Any = module.weight
        small = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        # Each pixel of the smaller tensor is multiplied with every weight, except those of its other channels.
        flops = 2.0 * small.numel() * weight.numel() / small.shape[1]
        convolutions.append(Layer(flops, float(inputs[0].numel() + weight.numel() + output.numel())))

    with torch.device("meta"):
        network = BranchedERFNet(channels, bandwidths).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_hook(record)
        network(torch.empty(batch, channels, *shape))
    return convolutions


def peak(device: str, dtype: torch.dtype, side: int, copied: int) -> Peak:
    """Measure a product of two square matrices of `side`, and a copy of `copied` bytes (read once, written once)."""
    # By torch's defaults convolutions may use TF32 and products may not: the ceiling would be an eighth of their rate.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.zeros(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product_s = _median_s(lambda: left @ right, device)
    copy_s = _median_s(lambda: target.copy_(source), device)
    return Peak(2 * side**3 / product_s, 2 * copied / copy_s)


def _median_s(work: Callable[[], Any], device: str, rounds: int = 20) -> float:
    times = []
    for _ in range(rounds + 3):
        began = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times[3:])
