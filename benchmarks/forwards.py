"""Ways to run the shipped network alone, on inputs of one shape: each is made once, and says how long images took."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from maskq.segmentation.arrays import Floats
from maskq.segmentation.images import decode
from maskq.segmentation.models import loading
from maskq.segmentation.models.registry import find
from maskq.segmentation.models.spec import ModelSpec, read_spec, read_weights
from maskq.segmentation.network.inference import Input, Started
from maskq.segmentation.network.preprocessing import to_input
from maskq.segmentation.network.shape_buckets import bucket_shape
from maskq.segmentation.segmenter import Precision, Segmenter

from .apart import Work
from .pictures import crops

#: How many images → the seconds that they took.
Timer = Work[int, float]
Shape = tuple[int, int]

_MODEL = "nuclei"


@dataclass(frozen=True)
class Tuned:
    """What is done for the forward on a CPU, each of it to be left out."""

    inference_mode: bool = True
    folded_norms: bool = True
    channels_last: bool = True
    #: As many images at once as there are cores, each on one thread; else one after another on all.
    side_by_side: bool = True


def planes(shape: Shape) -> Floats:
    """(1, h, w) float32: a real picture, normalised, again and again, so that there is as much foreground as usual."""
    (picture,) = crops(1)
    part = to_input(decode(picture), "grey", "percentile")
    times = [-(-side // own) for side, own in zip(shape, part.shape[1:], strict=True)]
    return np.ascontiguousarray(np.tile(part, (1, *times))[:, : shape[0], : shape[1]])


def published(shape: Shape, device: str) -> Timer:
    """As published: float32, one image at a time, norms of their own, NCHW; an array there, an array back."""
    _, network = _network()
    network.to(device)
    given = planes(shape)

    @torch.no_grad()
    def once() -> None:
        network(torch.from_numpy(given)[None].to(device)).cpu().numpy()

    return _one_by_one(once)


def ours(shape: Shape, device: str, precision: Precision = "fp32", batch: int = 1) -> Timer:
    """As a device process does: batches, one on its way while another is computed; on a CPU, images side by side.

    On a GPU they are padded to the ladder's shape, and their number is taken up to a multiple of `batch`.
    """
    torch.backends.cudnn.benchmark = True  # one shape, for ever: what `on` and `auto` come to
    segmenter = Segmenter.load(find(_MODEL), device, precision)
    given = Input(planes(shape), (slice(0, shape[0]), slice(0, shape[1])), compact=True)
    if device == "cpu":
        return _side_by_side(lambda: segmenter.finish(segmenter.start([given], shape)))
    return partial(_in_batches, segmenter, [given] * batch, bucket_shape(*shape))


def tuned(shape: Shape, how: Tuned) -> Timer:
    """The forward on a CPU, with some of what is done for it left out."""
    network, given = prepared(how), planes(shape)
    layout = torch.channels_last if how.channels_last else torch.contiguous_format

    def once() -> None:
        with torch.inference_mode() if how.inference_mode else torch.no_grad():
            network(torch.from_numpy(given)[None].to(memory_format=layout)).contiguous().numpy()

    return _side_by_side(once) if how.side_by_side else _one_by_one(once)


def prepared(how: Tuned) -> nn.Module:
    """The network, as far as it is prepared beforehand."""
    spec, network = _network()
    if how.folded_norms:
        Segmenter(network, spec)  # which folds the norms of the very network that it is given
    layout = torch.channels_last if how.channels_last else torch.contiguous_format
    return network.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]


def _network() -> tuple[ModelSpec, nn.Module]:
    folder = find(_MODEL)
    spec = read_spec(folder)
    return spec, loading.network(spec, read_weights(folder, spec)).eval().requires_grad_(False)


def _one_by_one(once: Callable[[], object]) -> Timer:
    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            once()
        return time.perf_counter() - began

    return run


def _side_by_side(once: Callable[[], object]) -> Timer:
    """As many at once as there are cores, each on one of torch's threads."""
    cores = os.cpu_count() or 1
    pool = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))

    def run(count: int) -> float:
        began = time.perf_counter()
        for done in [pool.submit(once) for _ in range(count)]:
            done.result()
        return time.perf_counter() - began

    return run


def _in_batches(segmenter: Segmenter, batch: list[Input], shape: Shape, count: int) -> float:
    began = time.perf_counter()
    flying: deque[Started] = deque()
    for _ in range(-(-count // len(batch))):
        flying.append(segmenter.start(batch, shape))
        if len(flying) == 2:
            segmenter.finish(flying.popleft())
    for started in flying:
        segmenter.finish(started)
    return time.perf_counter() - began
