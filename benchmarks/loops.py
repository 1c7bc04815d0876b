"""The bare single-process loops that are yardsticks of the queue: no queue, no store, no second process.

`plain` is what one would write from the paper: decode, the network with torch's defaults, the published clustering.
`optimised` runs the workers' network and kernels, one image after the other on all cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .isolated import Work, isolated

#: Image files → (images, steps) seconds.
Turn = Work[list[bytes], NDArray[np.float64]]
Step = Callable[[Any], Any]


@contextmanager
def plain(model: str) -> Iterator[Turn]:
    """The loop from the paper, as one step, in a process with this machine's malloc settings."""
    with isolated(plain_loop, model, heap=False) as turn:
        yield turn


@contextmanager
def optimised(model: str, folders: tuple[str, ...] = ()) -> Iterator[Turn]:
    """The loop with our network and kernels, in the queue's two steps: to packed fields, and to objects.

    `folders` are searched for the model before those that come with maskq.
    """
    with isolated(optimised_loop, model, folders) as turn:
        yield turn


def plain_loop(model: str) -> Turn:
    """Build the plain loop in this process."""
    return timed_steps(plain_work(model))


def optimised_loop(model: str, folders: tuple[str, ...]) -> Turn:
    """Build the optimised loop in this process."""
    return timed_steps(*_optimised(model, folders))


def model_of(folder: Path | None) -> str:
    """Return the model with the name of the folder, or of its parent folder; otherwise `nuclei`."""
    from maskq.segmentation.errors import UnknownModel
    from maskq.segmentation.models.registry import find

    for part in (folder.resolve().name, folder.resolve().parent.name) if folder else ():
        try:
            find(part)
        except UnknownModel:
            continue
        return part
    return "nuclei"


def timed_steps(*steps: Step) -> Turn:
    """Build a loop that times steps; the argument of each is the result of the one before."""

    def turn(images: list[bytes]) -> NDArray[np.float64]:
        return np.array([_seconds(image, steps) for image in images])

    return turn


def _seconds(image: bytes, steps: tuple[Step, ...]) -> list[float]:
    times = []
    value: Any = image
    for step in steps:
        began = time.perf_counter()
        value = step(value)
        times.append(time.perf_counter() - began)
    return times


def _optimised(model: str, folders: tuple[str, ...]) -> tuple[Step, Step]:
    from maskq.segmentation.clustering.cluster import cluster
    from maskq.segmentation.clustering.fields import unpack
    from maskq.segmentation.images import decode
    from maskq.segmentation.models.registry import find
    from maskq.segmentation.objects import describe
    from maskq.segmentation.segmenter import Segmenter

    segmenter = Segmenter.load(find(model, folders))

    def objects(fields: bytes) -> Any:
        labels, scores = cluster(unpack(fields), segmenter.spec.clustering())
        return describe(labels, scores.tolist())

    return lambda image: segmenter.fields(decode(image)), objects


def plain_work(model: str) -> Step:
    """Return a function: image file → labels and scores of the published clustering."""
    import torch
    from torch import Tensor
    from torch.nn import functional as F

    from maskq.segmentation.images import decode
    from maskq.segmentation.models.registry import find
    from maskq.segmentation.models.spec import read_spec, read_weights
    from maskq.segmentation.network.preprocessing import to_input
    from maskq.segmentation.network.shape_buckets import STRIDE
    from maskq.segmentation.rescaling import scale_factor
    from maskq.segmentation.training.loss import grid
    from tests.published import cluster_published

    folder = find(model)
    spec = read_spec(folder)
    network, scale = spec.architecture.load(spec, read_weights(folder), "cpu").eval(), scale_factor(spec)

    def resize(planes: Tensor, height: int, width: int) -> Tensor:
        same = planes.shape[2:] == (height, width)
        return planes if same else F.interpolate(planes, (height, width), mode="bilinear")

    @torch.no_grad()
    def work(image: bytes) -> Any:
        pixels = decode(image)
        height, width = pixels.shape[:2]
        size = round(height * scale), round(width * scale)
        planes = resize(torch.from_numpy(to_input(pixels, spec.channels, spec.normalisation))[None], *size)
        padded = F.pad(planes, (0, -size[1] % STRIDE, 0, -size[0] % STRIDE), mode="replicate")
        raw = resize(network(padded)[:, :, : size[0], : size[1]], height, width)[0]
        embedding = torch.tanh(raw[:2]) + grid(height, width, spec.unit / scale)
        fields = embedding, torch.exp(10 * raw[2:-1]), torch.sigmoid(raw[-1])
        dense = (np.ascontiguousarray(field.numpy()) for field in fields)
        return cluster_published(
            *dense,
            seed_threshold=spec.seed_threshold,
            min_pixels=spec.min_pixels,
            min_unclustered=spec.min_unclustered,
        )

    return work
