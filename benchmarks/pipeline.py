"""The whole queue beside a bare single-process loop that does the same work with the same cores.

The queue: embedded Redis, one device process on `cpu`, one cluster process, results fetched by a client. The loops:
`bare` decodes, runs the same prepared network and the same kernel, and describes the objects; `plain` is what one
would write from the paper: the network as it stands, the published clustering.
"""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from examples.samples import samples
from producer.client import Client
from producer.settings import Settings
from producer.sources import expand
from workers.stack import running

from .harness import Case, timed

_IMAGES = 200


def run(quick: bool, images: Path | None) -> list[Case]:
    """Images per second of the queue over those of either loop, the three run in turn on the same images."""
    data = _folder(images) if images else _crops()
    data = data[: 60 if quick else _IMAGES]
    rounds = 2 if quick else 5
    share = len(data) // rounds
    times: dict[str, list[float]] = {"queue": [], "bare": [], "plain": []}
    with _queue() as queue, _loop("bare") as bare, _loop("plain") as plain:
        for turn in (queue, bare, plain):
            turn(data[:8])  # models loaded, kernels compiled, threads started
        for number in range(rounds):
            part = data[number * share : (number + 1) * share]
            for name, turn in (("queue", queue), ("bare", bare), ("plain", plain)):
                times[name].append(timed(partial(turn, part)) / len(part))
    speed = {name: 1 / median(found) for name, found in times.items()}
    return [
        Case.rate("queue over bare loop", speed["queue"], speed["bare"], "images/s", images=rounds * share),
        Case.rate("queue over plain loop", speed["queue"], speed["plain"], "images/s", images=rounds * share),
    ]


@contextmanager
def _queue() -> Iterator[Callable[[list[bytes]], None]]:
    with (
        running(Settings(broker_url=None, devices="cpu", cluster_processes=1)) as stack,
        Client(settings=stack.settings) as client,
    ):

        def turn(images: list[bytes]) -> None:
            for result in client.map(images):
                assert result.labels.shape == result.size

        yield turn


@contextmanager
def _loop(kind: str) -> Iterator[Callable[[list[bytes]], None]]:
    """The loop in a process of its own, with this machine's default threads and memory settings."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(kind, theirs), daemon=True)
    process.start()

    def turn(images: list[bytes]) -> None:
        ours.send(images)
        ours.recv()

    try:
        yield turn
    finally:
        ours.send(None)
        process.join(10)


def _serve(kind: str, link: Connection) -> None:
    work = _bare() if kind == "bare" else _plain()
    while (images := link.recv()) is not None:
        for image in images:
            work(image)
        link.send(None)


def _bare() -> Callable[[bytes], Any]:
    from segmentation.catalogue.repository import find
    from segmentation.images import decode
    from segmentation.objects import describe
    from segmentation.segmenter import Segmenter

    segmenter = Segmenter.load(find("nuclei"))
    return lambda image: describe(*segmenter.segment(decode(image)))


def _plain() -> Callable[[bytes], Any]:
    import torch
    from safetensors.torch import load

    from segmentation.catalogue import model
    from segmentation.catalogue.repository import find
    from segmentation.images import decode
    from segmentation.inputs import pad, to_input
    from segmentation.network import BranchedERFNet
    from segmentation.training.loss import grid
    from tests.published import cluster_published

    folder = find("nuclei")
    spec = model.read_spec(folder)
    network = BranchedERFNet(spec.channel_count, spec.bandwidths).eval()
    network.load_state_dict({k: v.float() for k, v in load(model.read_weights(folder)).items()}, strict=False)

    def work(image: bytes) -> Any:
        pixels = decode(image)
        prepared = pad(to_input(pixels, spec.channels, spec.normalisation))
        with torch.no_grad():
            raw = network(torch.from_numpy(prepared)[None])[0, :, : pixels.shape[0], : pixels.shape[1]]
        embedding = torch.tanh(raw[:2]) + grid(pixels.shape[0], pixels.shape[1], spec.unit)
        fields = embedding, torch.exp(10 * raw[2:-1]), torch.sigmoid(raw[-1])
        return cluster_published(*(np.ascontiguousarray(field.numpy()) for field in fields))

    return work


def _folder(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in expand([str(folder)])]


def _crops() -> list[bytes]:
    """256² crops of the pictures that packages ship, as PNG."""
    rng = np.random.default_rng(0)
    pictures = [Image.open(path).convert("F") for path in samples()]
    found = []
    for _ in range(_IMAGES):
        picture = pictures[int(rng.integers(len(pictures)))]
        left, top = (int(rng.integers(max(side - 256, 1))) for side in picture.size)
        crop = np.asarray(picture.crop((left, top, left + 256, top + 256)))
        stream = io.BytesIO()
        Image.fromarray((255 * (crop - crop.min()) / max(np.ptp(crop), 1)).astype(np.uint8)).save(stream, "PNG")
        found.append(stream.getvalue())
    return found
