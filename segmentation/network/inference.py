"""Runs batches on a device: copies inputs in, runs the network, copies the results back.

Most jobs want only the foreground's fields, at half precision (`CompactFields`). A GPU computes those itself, so a
tenth of the raw fields is copied back. Its copies use two streams of their own: while one batch is computed, the next
is copied in and the previous one is copied back. On a CPU, numpy compacts the fields in half the time that torch takes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..arrays import Floats
from ..clustering.fields import FLOAT16_MAX, NAN_MESSAGE, CompactFields, compact
from ..errors import InvalidFields

Shape: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Input:
    """One preprocessed input of the network, and which of its fields are wanted."""

    #: (channels, h, w) float32, sides multiples of 8.
    planes: Floats
    #: Rows and columns whose fields are wanted.
    core: tuple[slice, slice]
    #: True: the result is `CompactFields`; False: raw fields, (2 + bandwidths + 1, rows, columns) float32.
    compact: bool


#: Runs one input and returns its result, in this process or through a device's queue.
RunInput: TypeAlias = Callable[[Input], CompactFields | Floats]


@dataclass(frozen=True)
class RunningBatch:
    """A batch that `InferenceRunner.start` started."""

    batch: list[Input]
    #: (N, 2 + bandwidths + 1, H, W), on the device.
    raw: Tensor
    #: The network's input and `_regions`, on the device; kept alive, as freed memory would be reused by another batch.
    inputs: tuple[Tensor, Tensor]
    #: On a GPU, the start and the end of the network's run; else None.
    start_event: torch.cuda.Event | None
    end_event: torch.cuda.Event | None

    def seconds(self) -> float | None:
        """Seconds that the GPU ran the network, once the batch is finished; None without a GPU."""
        return self.start_event.elapsed_time(self.end_event) / 1000 if self.start_event and self.end_event else None


class InferenceRunner:
    """A network on its device. Threads may share it."""

    def __init__(self, network: nn.Module, device: torch.device, dtype: torch.dtype, *, supports_padding: bool) -> None:
        """`supports_padding`: whether the network takes the samples' sizes, as `BranchedERFNet` does."""
        self._network, self._device, self._dtype, self._supports_padding = network, device, dtype, supports_padding
        self._copy_in: torch.cuda.Stream | None = None
        self._copy_out: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._copy_in = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            # High priority: its kernels are few and small, and a finished batch waits for them.
            self._copy_out = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def start(self, batch: list[Input], shape: Shape) -> RunningBatch:
        """Run a batch padded to `shape`; on a GPU, return before it is done.

        Raises `ValueError` if an input has another shape and the network does not support padding.
        """
        padded = any(item.planes.shape[1:] != shape for item in batch)
        if padded and not self._supports_padding:
            raise ValueError(f"this network runs inputs at their own shape alone, and not all are {shape}")
        planes, regions = self._to_device(batch, shape)
        start_event = self._record_event()
        x = planes.to(self._dtype)
        raw = self._network(x, regions[:, :2]) if padded else self._network(x)
        return RunningBatch(batch, raw, (planes, regions), start_event, self._record_event())

    def _record_event(self) -> torch.cuda.Event | None:
        """On a GPU, an event that occurs when the work so far is computed."""
        if self._copy_in is None:
            return None
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        torch.cuda.current_stream(self._device).record_event(event)
        return event

    def _to_device(self, batch: list[Input], shape: Shape) -> tuple[Tensor, Tensor]:
        """The network's input and `_regions`, on the device or being copied there."""
        if self._copy_in is None:
            return _stack(batch, shape).to(self._device), _regions(batch).to(self._device)
        with torch.cuda.stream(self._copy_in):
            planes = _stack(batch, shape, pinned=True).to(self._device, non_blocking=True)
            regions = _regions(batch, pinned=True).to(self._device, non_blocking=True)
        torch.cuda.current_stream(self._device).wait_stream(self._copy_in)
        return planes, regions

    @torch.inference_mode()
    def finish(self, running: RunningBatch) -> list[CompactFields | Floats]:
        """Wait for a batch and return each input's result, in order. Raises `InvalidFields` if a value is NaN."""
        if self._copy_out is None or running.end_event is None:
            raw = running.raw.float().cpu().numpy()
            parts = [(item.compact, fields[:, *item.core]) for item, fields in zip(running.batch, raw, strict=True)]
            return [compact(part) if reduce else np.ascontiguousarray(part) for reduce, part in parts]
        with torch.cuda.stream(self._copy_out):
            self._copy_out.wait_event(running.end_event)
            on_device = running.raw.float()
            compacted = [_fetch(tensor) for tensor in _compact_on_device(on_device, running.inputs[1][:, 2:])]
            dense = [
                None if item.compact else _fetch(on_device[n, :, *item.core]) for n, item in enumerate(running.batch)
            ]
        self._copy_out.synchronize()
        compacts = _split(running.batch, *(tensor.numpy() for tensor in compacted))
        return [fields if raw is None else raw.numpy() for fields, raw in zip(compacts, dense, strict=True)]


def _fetch(tensor: Tensor) -> Tensor:
    """Start a copy of the tensor from a GPU to pinned memory."""
    tensor = tensor.contiguous()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _stack(batch: list[Input], shape: Shape, pinned: bool = False) -> Tensor:
    """(N, channels, *shape) float32: the inputs, padded with 0."""
    size = (len(batch), len(batch[0].planes), *shape)
    planes = torch.empty(size, memory_format=torch.channels_last, pin_memory=pinned)
    for sample, item in zip(planes.numpy(), batch, strict=True):
        height, width = item.planes.shape[1:]
        sample[:, :height, :width] = item.planes
        sample[:, :height, width:] = sample[:, height:] = 0
    return planes


def _regions(batch: list[Input], pinned: bool = False) -> Tensor:
    """(N, 6) int32: height and width of each input, then top, bottom, left and right of the part to be compacted.

    Bottom and right are exclusive; the part is empty if the input's raw fields are wanted.
    """
    cores = [[(side.start, side.stop) if item.compact else (0, 0) for side in item.core] for item in batch]
    rows = [(*item.planes.shape[1:], *down, *right) for item, (down, right) in zip(batch, cores, strict=True)]
    return torch.tensor(rows, dtype=torch.int32, pin_memory=pinned)


def _compact_on_device(raw: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`fields.compact` in torch, for regions (N, 4) of raw fields (N, 2 + bandwidths + 1, H, W).

    Returns the foreground as bits (N, H, W / 8); its values (2 + bandwidths + 1, K) float16, sample after sample; the
    number of values of each sample (N,); and whether any value is NaN.
    """
    top, bottom, left, right = regions.unbind(1)
    inside = _between(top, bottom, raw.shape[2])[:, :, None] & _between(left, right, raw.shape[3])[:, None]
    seeds = raw[:, -1]
    foreground = (seeds > 0) & inside
    values = raw.movedim(1, -1).flatten(0, 2).index_select(0, foreground.flatten().nonzero().flatten())
    has_nan = values.isnan().any() | (seeds.isnan() & inside).any()
    half = values.clamp(-FLOAT16_MAX, FLOAT16_MAX).half().t()
    return _pack_bits(foreground), half, foreground.sum((1, 2)), has_nan


def _between(start: Tensor, stop: Tensor, side: int) -> Tensor:
    """(N,) starts and stops → (N, side) bool."""
    positions = torch.arange(side, device=start.device)
    return (start[:, None] <= positions) & (positions < stop[:, None])


def _pack_bits(flags: Tensor) -> Tensor:
    """(N, H, W) bool → (N, H, W / 8) uint8, as `np.packbits` does."""
    weights = 1 << torch.arange(7, -1, -1, dtype=torch.uint8, device=flags.device)
    return (flags.reshape(*flags.shape[:2], -1, 8) * weights).sum(-1, dtype=torch.uint8)


def _split(
    batch: list[Input],
    bits: NDArray[np.uint8],
    values: NDArray[np.float16],
    counts: NDArray[np.int64],
    has_nan: NDArray[np.bool_],
) -> list[CompactFields]:
    """The results of `_compact_on_device`, input by input. Raises `InvalidFields`."""
    if has_nan:
        raise InvalidFields(NAN_MESSAGE)
    foregrounds, ends = np.unpackbits(bits, axis=-1).view(np.bool_), np.cumsum(counts)
    return [
        CompactFields(foregrounds[n][item.core], np.ascontiguousarray(values[:, ends[n] - counts[n] : ends[n]]))
        for n, item in enumerate(batch)
    ]
