"""The cudnn benchmark's settings (`on`, `off`, `auto`) on three workloads.

Every run starts in a fresh process and includes the time of its searches. One shape and varied shapes are 400 batches
each, as `auto` makes its first search after about 100; new shapes are 25, as `on` searches each of them, which takes
seconds. With `--quick` each is a quarter.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np

from maskq.segmentation.models.registry import find
from maskq.segmentation.network.inference import Input
from maskq.segmentation.network.shape_buckets import aligned_shape, bucket_shape
from maskq.segmentation.segmenter import Segmenter
from maskq.workers.device.batching import BatchKey
from maskq.workers.device.cudnn_benchmark import Benchmark, CudnnBenchmark
from maskq.workers.device.metrics import Counters
from maskq.workers.device.runners import GpuRunner

from .harness import Case
from .inference import Shape, planes
from .isolated import Work, isolated

#: (height, width, number of images) in the training set of the 2018 Data Science Bowl.
_NUCLEI = (
    (256, 256, 334),
    (256, 320, 112),
    (520, 696, 92),
    (360, 360, 91),
    (1024, 1024, 16),
    (512, 640, 13),
    (603, 1272, 6),
    (260, 347, 5),
    (1040, 1388, 1),
)
#: The workload of new shapes has this many times fewer batches.
_NEW_SHAPES_DIVISOR = 16


def workloads(count: int) -> dict[str, list[Shape]]:
    """Return the batches' shapes: one shape; bucket shapes in the mix of nuclei images; fewer, all different."""
    sizes = [aligned_shape(256 + 8 * (n % 64), 256 + 8 * (n // 64)) for n in range(count // _NEW_SHAPES_DIVISOR)]
    rng, images = np.random.default_rng(0), np.array([number for _, _, number in _NUCLEI])
    drawn = rng.choice(len(_NUCLEI), count, p=images / images.sum())
    return {
        "one shape": [bucket_shape(512, 512)] * count,
        "varied shapes": [bucket_shape(*_NUCLEI[n][:2]) for n in drawn],
        "every shape new": [sizes[n] for n in rng.permutation(len(sizes))],
    }


def cases(count: int) -> Iterator[Case]:
    """Compare, per workload, images per second of `auto` with the better of `on` and `off`."""
    for name, shapes in workloads(count).items():
        speed: dict[str, float] = {}
        searches: dict[str, Any] = {}
        for setting in get_args(Benchmark):
            with isolated(timed_batches, setting, "cuda") as time_batches:
                seconds, counters = time_batches(shapes)
            speed[setting] = len(shapes) / seconds
            searches[f"{setting}_searches"] = counters["cudnn_searches"]
        both = {f"{setting}_images/s": round(speed[setting], 2) for setting in ("on", "off")}
        more = {"batches": len(shapes)} | both | searches
        yield Case.rate(f"cudnn auto, {name}", speed["auto"], max(speed["on"], speed["off"]), "images/s", **more)


def timed_batches(setting: Benchmark, device: str) -> Work[list[Shape], tuple[float, dict[str, Any]]]:
    """Return a function: shapes of batches of one image → the seconds that they took, and the cudnn counters."""
    segmenter = Segmenter.load(find("nuclei"), device)
    # Create the CUDA context and load its libraries.
    _seconds(GpuRunner(Counters(), CudnnBenchmark("off")), segmenter, _input((64, 64)))

    def work(shapes: list[Shape]) -> tuple[float, dict[str, Any]]:
        runner = GpuRunner(Counters(), benchmark := CudnnBenchmark(setting))
        inputs = {shape: _input(shape) for shape in set(shapes)}
        return sum(_seconds(runner, segmenter, inputs[shape]) for shape in shapes), benchmark.counters()

    return work


def _input(shape: Shape) -> Input:
    return Input(planes(shape), (slice(0, shape[0]), slice(0, shape[1])), compact=True)


def _seconds(runner: GpuRunner, segmenter: Segmenter, item: Input) -> float:
    """Time a batch of one, run as a device process does."""
    key = BatchKey(segmenter, segmenter.spec.ref, (item.planes.shape[1], item.planes.shape[2]))
    began = time.perf_counter()
    runner.finish(runner.start(key, [item]))
    return time.perf_counter() - began
