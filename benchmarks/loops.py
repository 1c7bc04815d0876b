"""The bare single-process loops that the queue is measured against: no queue, no store, no second process.

`plain` is what one would write from the paper: decode, the network as it stands at torch's defaults, the published
clustering. `optimised` runs the very network and kernels of the workers, one image after the other on all cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .apart import Work, apart

#: Images → (images, steps) seconds.
Turn = Work[list[bytes], NDArray[np.float64]]
Step = Callable[[Any], Any]


@contextmanager
def plain(model: str) -> Iterator[Turn]:
    """The loop from the paper, in one step, in a process with this machine's malloc."""
    with apart(plain_loop, model, heap=False) as turn:
        yield turn


@contextmanager
def optimised(model: str, folders: tuple[str, ...] = ()) -> Iterator[Turn]:
    """The loop with our network and kernels, in two steps as the queue's: to packed fields, and to objects.

    The model is looked for in `folders` before those that come with maskq.
    """
    with apart(optimised_loop, model, folders) as turn:
        yield turn


def plain_loop(model: str) -> Turn:
    """The loop itself, in this process."""
    return timed_steps(plain_work(model))


def optimised_loop(model: str, folders: tuple[str, ...]) -> Turn:
    """The loop itself, in this process."""
    return timed_steps(*_optimised(model, folders))


def model_of(folder: Path | None) -> str:
    """The model for a folder of images: the one of its name, or of the name of the folder it is in; else `nuclei`."""
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
    """A loop of steps, each given what the one before it returned."""

    def turn(images: list[bytes]) -> NDArray[np.float64]:
        return np.array([_seconds(image, steps) for image in images])

    return turn


def _seconds(image: bytes, steps: tuple[Step, ...]) -> list[float]:
    found = []
    value: Any = image
    for step in steps:
        began = time.perf_counter()
        value = step(value)
        found.append(time.perf_counter() - began)
    return found


def _optimised(model: str, folders: tuple[str, ...]) -> tuple[Step, Step]:
    from maskq.segmentation.clustering.cluster import cluster
    from maskq.segmentation.clustering.fields import unpack
    from maskq.segmentation.images import decode
    from maskq.segmentation.models.registry import find
    from maskq.segmentation.objects import describe
    from maskq.segmentation.segmenter import Segmenter

    segmenter = Segmenter.load(find(model, folders))

    def read_out(fields: bytes) -> Any:
        labels, scores = cluster(unpack(fields), segmenter.spec.clustering())
        return describe(labels, scores.tolist())

    return lambda image: segmenter.fields(decode(image)), read_out


def plain_work(model: str) -> Step:
    """An image's bytes → what the published clustering gives: labels and scores."""
    import torch
    from torch import Tensor
    from torch.nn import functional as F

    from maskq.segmentation.images import decode
    from maskq.segmentation.models import loading
    from maskq.segmentation.models.registry import find
    from maskq.segmentation.models.spec import read_spec, read_weights
    from maskq.segmentation.network.preprocessing import to_input
    from maskq.segmentation.network.shape_buckets import STRIDE
    from maskq.segmentation.rescaling import factor
    from maskq.segmentation.training.loss import grid
    from tests.published import cluster_published

    folder = find(model)
    spec = read_spec(folder)
    network, by = loading.network(spec, read_weights(folder)).eval(), factor(spec)

    def sized(planes: Tensor, height: int, width: int) -> Tensor:
        return (
            F.interpolate(planes, (height, width), mode="bilinear") if planes.shape[2:] != (height, width) else planes
        )

    @torch.no_grad()
    def work(image: bytes) -> Any:
        pixels = decode(image)
        height, width = pixels.shape[:2]
        seen = round(height * by), round(width * by)
        planes = sized(torch.from_numpy(to_input(pixels, spec.channels, spec.normalisation))[None], *seen)
        padded = F.pad(planes, (0, -seen[1] % STRIDE, 0, -seen[0] % STRIDE), mode="replicate")
        raw = sized(network(padded)[:, :, : seen[0], : seen[1]], height, width)[0]
        embedding = torch.tanh(raw[:2]) + grid(height, width, spec.unit / by)
        fields = embedding, torch.exp(10 * raw[2:-1]), torch.sigmoid(raw[-1])
        dense = (np.ascontiguousarray(field.numpy()) for field in fields)
        return cluster_published(
            *dense,
            seed_threshold=spec.seed_threshold,
            min_pixels=spec.min_pixels,
            min_unclustered=spec.min_unclustered,
        )

    return work
