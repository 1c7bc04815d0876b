"""cudnn's search for the fastest convolutions: always, never, or where it pays, over three kinds of work.

Every run begins in a process that has searched nothing, and pays for what it searches. One shape and varied shapes are
400 batches each, for `auto` makes its first search after about 100; new shapes are 25, for `on` searches every one of
them, which takes seconds. With `--quick` it is a quarter of each.
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
from maskq.workers.device.cudnn_benchmark import CudnnBenchmark
from maskq.workers.device.metrics import Counters
from maskq.workers.device.runners import GpuRunner
from maskq.workers.device.spec import Benchmark

from .apart import Work, apart
from .forwards import Shape, planes
from .harness import Case

#: Height, width and number of the images of the 2018 Data Science Bowl's training set, by size.
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
#: So many times fewer are the batches of always new shapes.
_FEWER = 16


def workloads(count: int) -> dict[str, list[Shape]]:
    """Shapes of `count` batches: one and the same; as images of nuclei come, on the ladder. Of fewer, each one new."""
    sizes = [aligned_shape(256 + 8 * (n % 64), 256 + 8 * (n // 64)) for n in range(count // _FEWER)]
    rng = np.random.default_rng(0)
    drawn = rng.choice(len(_NUCLEI), count, p=np.array([own[2] for own in _NUCLEI]) / sum(own[2] for own in _NUCLEI))
    return {
        "one shape": [bucket_shape(512, 512)] * count,
        "varied shapes": [bucket_shape(*_NUCLEI[n][:2]) for n in drawn],
        "every shape new": [sizes[n] for n in rng.permutation(len(sizes))],
    }


def cases(count: int) -> Iterator[Case]:
    """Per workload, images per second of `auto` over the better of `on` and `off`."""
    for name, shapes in workloads(count).items():
        speed: dict[str, float] = {}
        told: dict[str, Any] = {}
        for setting in get_args(Benchmark):
            with apart(through, setting, "cuda") as run:
                seconds, counters = run(shapes)
            speed[setting] = len(shapes) / seconds
            told[f"{setting}_searches"] = counters["cudnn_searches"]
        both = {f"{setting}_images/s": round(speed[setting], 2) for setting in ("on", "off")}
        better = max(speed["on"], speed["off"])
        yield Case.rate(f"cudnn auto, {name}", speed["auto"], better, "images/s", batches=len(shapes), **both, **told)


def through(setting: Benchmark, device: str) -> Work[list[Shape], tuple[float, dict[str, Any]]]:
    """Batches of one image of these shapes → the seconds that they took, and what the setting has counted."""
    segmenter = Segmenter.load(find("nuclei"), device)
    _seconds(GpuRunner(Counters(), CudnnBenchmark("off")), segmenter, _input((64, 64)))  # its context, the libraries

    def work(shapes: list[Shape]) -> tuple[float, dict[str, Any]]:
        runner = GpuRunner(Counters(), benchmark := CudnnBenchmark(setting))
        given = {shape: _input(shape) for shape in set(shapes)}
        return sum(_seconds(runner, segmenter, given[shape]) for shape in shapes), benchmark.counters()

    return work


def _input(shape: Shape) -> Input:
    return Input(planes(shape), (slice(0, shape[0]), slice(0, shape[1])), compact=True)


def _seconds(runner: GpuRunner, segmenter: Segmenter, given: Input) -> float:
    """How long a batch of one takes, as a device process runs it."""
    kind = BatchKey(segmenter, segmenter.spec.ref, (given.planes.shape[1], given.planes.shape[2]))
    began = time.perf_counter()
    runner.finish(runner.start(kind, [given]))
    return time.perf_counter() - began
