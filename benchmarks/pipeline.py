"""The whole queue, compared with bare single-process loops that do the same work on the same cores.

The queue: embedded Redis, one device process on `cpu`, one cluster process, results fetched by a client. The loops
(see `loops`): the plain one, as one would write it from the paper, and the optimised one, with our network and kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from maskq.producer.client.client import Client
from maskq.workers.local.stack import running

from . import loops
from .harness import Case, timed
from .sample_images import crops, label, read_folder
from .stack_settings import stack_settings

_IMAGES = 200
#: Images per turn: during the first and the last one, the queue leaves a core idle, which a loop does not.
_TURN, _QUICK_TURN = 60, 30
#: Minimum ratio of the queue's rate to the loop's, on two cores.
_TARGETS = {"plain": 1.0, "optimised": 0.95}


def run(quick: bool, images: Path | None) -> list[Case]:
    """Compare images per second of the queue with those of each loop, all three in turn on the same images.

    A folder of images runs with the model of its name, if there is one (see `loops.model_of`).
    """
    data = read_folder(images) if images else crops(_IMAGES)
    rounds, share = (2, _QUICK_TURN) if quick else (5, _TURN)
    model = loops.model_of(images)
    rates = _rates(data[:_IMAGES], model, rounds, share)
    return [
        Case.rate(
            f"{label(images)}, over the {name} loop",
            rates["queue"],
            rates[name],
            "images/s",
            images=rounds * share,
            model=model,
            target=target,
        )
        for name, target in _TARGETS.items()
    ]


def _rates(data: list[bytes], model: str, rounds: int, share: int) -> dict[str, float]:
    """Return images per second of each: the median of `rounds` turns of `share` images each, taken in a circle."""
    images = cycle(data)
    times: dict[str, list[float]] = {"queue": [], "plain": [], "optimised": []}
    with (
        running(stack_settings()) as stack,
        Client(settings=stack.settings) as client,
        loops.plain(model) as plain,
        loops.optimised(model) as optimised,
    ):
        turns: dict[str, Callable[[list[bytes]], Any]] = {
            "queue": partial(_run_queue, client, model),
            "plain": plain,
            "optimised": optimised,
        }
        for turn in turns.values():
            turn(data[:8])  # warm-up: models are loaded, kernels compiled, threads started
        for _ in range(rounds):
            part = list(islice(images, share))
            for name, turn in turns.items():
                times[name].append(timed(partial(turn, part)) / share)
    return {name: 1 / median(seconds) for name, seconds in times.items()}


def _run_queue(client: Client, model: str, images: list[bytes]) -> None:
    for result in client.map(images, model=model):
        assert result.labels.shape == result.size
