"""Ways to run the shipped network alone, on inputs of one shape: each is set up once and times a number of images."""

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
from maskq.segmentation.models.registry import find
from maskq.segmentation.models.spec import ModelSpec, read_spec, read_weights
from maskq.segmentation.network.inference import Input, RunningBatch
from maskq.segmentation.network.preprocessing import to_input
from maskq.segmentation.network.shape_buckets import bucket_shape
from maskq.segmentation.segmenter import Precision, Segmenter

from .isolated import Work
from .sample_images import crops

#: Number of images → seconds.
Timer = Work[int, float]
Shape = tuple[int, int]

_MODEL = "nuclei"


@dataclass(frozen=True)
class Tuned:
    """The optimisations of inference on a CPU, each of which can be left out."""

    inference_mode: bool = True
    folded_norms: bool = True
    channels_last: bool = True
    #: As many images at once as there are cores, each on one thread; otherwise one after the other on all cores.
    side_by_side: bool = True


def planes(shape: Shape) -> Floats:
    """Return (1, h, w) float32: a real image, normalised and tiled, so that there is a usual amount of foreground."""
    (crop,) = crops(1)
    tile = to_input(decode(crop), "grey", "percentile")
    times = [-(-side // tile_side) for side, tile_side in zip(shape, tile.shape[1:], strict=True)]
    return np.ascontiguousarray(np.tile(tile, (1, *times))[:, : shape[0], : shape[1]])


def published(shape: Shape, device: str) -> Timer:
    """As published: float32, one image at a time, separate norms, NCHW; arrays in and out."""
    _, network = _network()
    network.to(device)
    image = planes(shape)

    @torch.no_grad()
    def once() -> None:
        network(torch.from_numpy(image)[None].to(device)).cpu().numpy()

    return _one_by_one(once)


def ours(shape: Shape, device: str, precision: Precision = "fp32", batch: int = 1) -> Timer:
    """As a device process does: on a CPU, images side by side; on a GPU, one batch is copied while another is computed.

    On a GPU, inputs are padded to the bucket shape, and their number is rounded up to a multiple of `batch`.
    """
    torch.backends.cudnn.benchmark = True  # for a single shape, `on` and `auto` end up with this
    segmenter = Segmenter.load(find(_MODEL), device, precision)
    item = Input(planes(shape), (slice(0, shape[0]), slice(0, shape[1])), compact=True)
    if device == "cpu":
        return _side_by_side(lambda: segmenter.finish(segmenter.start([item], shape)))
    return partial(_in_batches, segmenter, [item] * batch, bucket_shape(*shape))


def tuned(shape: Shape, options: Tuned) -> Timer:
    """Inference on a CPU, with these optimisations."""
    network, image = prepared(options), planes(shape)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format

    def once() -> None:
        with torch.inference_mode() if options.inference_mode else torch.no_grad():
            network(torch.from_numpy(image)[None].to(memory_format=layout)).contiguous().numpy()

    return _side_by_side(once) if options.side_by_side else _one_by_one(once)


def prepared(options: Tuned) -> nn.Module:
    """Return the network with these optimisations applied."""
    spec, network = _network()
    if options.folded_norms:
        Segmenter(network, spec)  # folds the norms of `network` in place
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    return network.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]


def _network() -> tuple[ModelSpec, nn.Module]:
    folder = find(_MODEL)
    spec = read_spec(folder)
    return spec, spec.architecture.load(spec, read_weights(folder, spec), "cpu").eval().requires_grad_(False)


def _one_by_one(once: Callable[[], object]) -> Timer:
    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            once()
        return time.perf_counter() - began

    return run


def _side_by_side(once: Callable[[], object]) -> Timer:
    """As many at once as there are cores, each with one torch thread."""
    cores = os.cpu_count() or 1
    pool = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))

    def run(count: int) -> float:
        began = time.perf_counter()
        for future in [pool.submit(once) for _ in range(count)]:
            future.result()
        return time.perf_counter() - began

    return run


def _in_batches(segmenter: Segmenter, batch: list[Input], shape: Shape, count: int) -> float:
    began = time.perf_counter()
    running: deque[RunningBatch] = deque()
    for _ in range(-(-count // len(batch))):
        running.append(segmenter.start(batch, shape))
        if len(running) == 2:
            segmenter.finish(running.popleft())
    for batch_started in running:
        segmenter.finish(batch_started)
    return time.perf_counter() - began
