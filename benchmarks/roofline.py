"""What the network asks of a device, layer by layer, and what the device can give at most.

The ceiling is the roofline of every convolution by itself (Williams et al. 2009): it takes the longer of its arithmetic
at the rate of a large matrix product and its reading and writing at the rate of a large copy, both measured. Norms and
ReLUs are taken to cost nothing, as if each were done while a convolution's output is written.
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

    #: A multiplication and an addition are two.
    flops: float
    #: Numbers read and written: input, weights and output, each once.
    values: float


@dataclass(frozen=True)
class Peak:
    """What a device was measured to do at most."""

    flops_per_s: float
    bytes_per_s: float

    def seconds(self, layers: list[Layer], itemsize: int) -> float:
        """The least time for these layers with numbers of so many bytes."""
        return sum(max(one.flops / self.flops_per_s, one.values * itemsize / self.bytes_per_s) for one in layers)


def layers(channels: int, bandwidths: int, batch: int, shape: tuple[int, int]) -> list[Layer]:
    """Every convolution of the branched ERFNet on (batch, channels, *shape); nothing is computed."""
    found: list[Layer] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        weight: Any = module.weight
        small = given[0] if isinstance(module, nn.ConvTranspose2d) else output
        # Each pixel of the smaller side meets every weight but those of the other channels of its own side.
        flops = 2.0 * small.numel() * weight.numel() / small.shape[1]
        found.append(Layer(flops, float(given[0].numel() + weight.numel() + output.numel())))

    with torch.device("meta"):
        network = BranchedERFNet(channels, bandwidths).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_hook(note)
        network(torch.empty(batch, channels, *shape))
    return found


def peak(device: str, dtype: torch.dtype, side: int, copied: int) -> Peak:
    """Measured: a product of two square matrices of `side`, and a copy of `copied` bytes (read once, written once)."""
    # Convolutions may use TF32 as torch comes, products may not: the ceiling would be an eighth of what they reach.
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
