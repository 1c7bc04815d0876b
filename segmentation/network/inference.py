"""Batches on a device: inputs there, the network, and of its answer no more back than is wanted.

What a job wants as a rule is the foreground alone, at half precision. A GPU makes that itself, and sends a tenth of the
fields. Its copies have streams of their own, beside the one that computes: while one batch is computed, the next is
copied there, and the one before it back. On a CPU numpy does it, in half the time that torch takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..arrays import Floats
from ..clustering.fields import HALF_MAX, NOT_A_NUMBER, Compact, compact
from ..errors import InvalidFields

Shape: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Input:
    """One input of the network, prepared."""

    #: (channels, h, w) float32, sides multiples of 8.
    planes: Floats
    #: The rows and columns whose fields are wanted.
    core: tuple[slice, slice]
    #: Whether as their `Compact` foreground, or raw, (2 + bandwidths + 1, rows, columns) float32.
    compact: bool


#: The answer to an input: by its own process, or by way of a queue for the device.
RunInput: TypeAlias = Callable[[Input], Compact | Floats]


@dataclass(frozen=True)
class Started:
    """A batch that its device computes, or has computed."""

    batch: list[Input]
    #: (N, 2 + bandwidths + 1, H, W), on the device.
    raw: Tensor
    #: The network's input and `_rectangles`, on the device; kept, for another batch would be copied over them.
    given: tuple[Tensor, Tensor]
    #: When the network began and when `raw` is there, on the GPU; None where it is.
    began: torch.cuda.Event | None
    done: torch.cuda.Event | None

    def seconds(self) -> float | None:
        """How long the GPU ran the network, once the batch is finished; None where it was no GPU."""
        return self.began.elapsed_time(self.done) / 1000 if self.began and self.done else None


class InferenceRunner:
    """A network on its device. Threads may share it."""

    def __init__(self, network: nn.Module, device: torch.device, dtype: torch.dtype, *, supports_padding: bool) -> None:
        """`supports_padding`: whether the network can be told where samples end, as `network.BranchedERFNet` can."""
        self._network, self._device, self._dtype, self._supports_padding = network, device, dtype, supports_padding
        self._there: torch.cuda.Stream | None = None
        self._back: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._there = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            # First in line, for its kernels are few, small, and waited for.
            self._back = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def start(self, batch: list[Input], shape: Shape) -> Started:
        """Run a batch padded to `shape`; on a GPU this returns before it is done.

        Raises `ValueError` where an input would be padded and the network can't be told.
        """
        padded = any(one.planes.shape[1:] != shape for one in batch)
        if padded and not self._supports_padding:
            raise ValueError(f"this network runs inputs at their own shape alone, and not all are {shape}")
        planes, rectangles = self._sent(batch, shape)
        began = self._now()
        x = planes.to(self._dtype)
        raw = self._network(x, rectangles[:, :2]) if padded else self._network(x)
        return Started(batch, raw, (planes, rectangles), began, self._now())

    def _now(self) -> torch.cuda.Event | None:
        """When the GPU has computed what it was given so far."""
        if self._there is None:
            return None
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        torch.cuda.current_stream(self._device).record_event(event)
        return event

    def _sent(self, batch: list[Input], shape: Shape) -> tuple[Tensor, Tensor]:
        """The network's input and `_rectangles`, on the device or on their way there."""
        if self._there is None:
            return _stacked(batch, shape), _rectangles(batch)
        with torch.cuda.stream(self._there):
            planes = _stacked(batch, shape, pinned=True).to(self._device, non_blocking=True)
            rectangles = _rectangles(batch, pinned=True).to(self._device, non_blocking=True)
        torch.cuda.current_stream(self._device).wait_stream(self._there)
        return planes, rectangles

    @torch.inference_mode()
    def finish(self, started: Started) -> list[Compact | Floats]:
        """Wait for a batch; the answer to each input, in order. Raises `InvalidFields` where one is not a number."""
        if self._back is None or started.done is None:
            raw = started.raw.float().numpy()
            return [_answer(one, fields[:, *one.core]) for one, fields in zip(started.batch, raw, strict=True)]
        with torch.cuda.stream(self._back):
            self._back.wait_event(started.done)
            there = started.raw.float()
            foregrounds = [_fetched(tensor) for tensor in _foregrounds(there, started.given[1][:, 2:])]
            dense = [None if one.compact else _fetched(there[n, :, *one.core]) for n, one in enumerate(started.batch)]
        self._back.synchronize()
        compacts = _compacts(started.batch, *(tensor.numpy() for tensor in foregrounds))
        return [one if wanted is None else wanted.numpy() for one, wanted in zip(compacts, dense, strict=True)]


def _answer(one: Input, raw: Floats) -> Compact | Floats:
    """What is made of an input's raw fields where they are in this process's memory."""
    return compact(raw) if one.compact else np.ascontiguousarray(raw)


def _fetched(tensor: Tensor) -> Tensor:
    """The tensor on its way from a GPU to this process's memory."""
    tensor = tensor.contiguous()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _stacked(batch: list[Input], shape: Shape, pinned: bool = False) -> Tensor:
    """(N, channels, *shape) float32: the inputs, 0 beyond them."""
    size = (len(batch), len(batch[0].planes), *shape)
    planes = torch.empty(size, memory_format=torch.channels_last, pin_memory=pinned)
    for own, one in zip(planes.numpy(), batch, strict=True):
        height, width = one.planes.shape[1:]
        own[:, :height, :width] = one.planes
        own[:, :height, width:] = own[:, height:] = 0
    return planes


def _rectangles(batch: list[Input], pinned: bool = False) -> Tensor:
    """(N, 6) int32: the height and width of each input, then the first and last row and column to be made compact.

    The last are the first that are not; an input to be answered raw has none.
    """
    cores = [[(of.start, of.stop) if one.compact else (0, 0) for of in one.core] for one in batch]
    rows = [(*one.planes.shape[1:], *down, *right) for one, (down, right) in zip(batch, cores, strict=True)]
    return torch.tensor(rows, dtype=torch.int32, pin_memory=pinned)


def _foregrounds(raw: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `fields.compact` makes of the wanted parts of raw fields (N, 2 + bandwidths + 1, H, W), as tensors.

    The foreground as bits (N, H, W / 8); its values (2 + bandwidths + 1, K) float16, one sample's after another's; how
    many of them each sample has (N,); and whether one is not a number.
    """
    top, bottom, left, right = wanted.unbind(1)
    within = _between(top, bottom, raw.shape[2])[:, :, None] & _between(left, right, raw.shape[3])[:, None]
    seeds = raw[:, -1]
    foreground = (seeds > 0) & within
    values = raw.movedim(1, -1).flatten(0, 2).index_select(0, foreground.flatten().nonzero().flatten())
    damaged = values.isnan().any() | (seeds.isnan() & within).any()
    half = values.clamp(-HALF_MAX, HALF_MAX).half().t()
    return _bits(foreground), half, foreground.sum((1, 2)), damaged


def _between(first: Tensor, stop: Tensor, side: int) -> Tensor:
    """(N,) ends → (N, side) bool."""
    at = torch.arange(side, device=first.device)
    return (first[:, None] <= at) & (at < stop[:, None])


def _bits(flags: Tensor) -> Tensor:
    """(N, H, W) bool → (N, H, W / 8) uint8, as `np.packbits` does."""
    weights = 1 << torch.arange(7, -1, -1, dtype=torch.uint8, device=flags.device)
    return (flags.reshape(*flags.shape[:2], -1, 8) * weights).sum(-1, dtype=torch.uint8)


def _compacts(
    batch: list[Input],
    bits: NDArray[np.uint8],
    values: NDArray[np.float16],
    counts: NDArray[np.int64],
    damaged: NDArray[np.bool_],
) -> list[Compact]:
    """What `_foregrounds` found, input by input. Raises `InvalidFields`."""
    if damaged:
        raise InvalidFields(NOT_A_NUMBER)
    foregrounds, ends = np.unpackbits(bits, axis=-1).view(np.bool_), np.cumsum(counts)
    return [
        Compact(foregrounds[n][one.core], np.ascontiguousarray(values[:, ends[n] - counts[n] : ends[n]]))
        for n, one in enumerate(batch)
    ]
