"""The whole queue beside bare single-process loops that do the same work with the same cores.

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
from .pictures import crops, label, of_folder
from .stacks import embedded

_IMAGES = 200
#: Images in one turn: the first and the last of them leave a core idle, in the queue and not in a loop.
_TURN, _QUICK_TURN = 60, 30
#: What the queue's rate is to be over either loop's, on two cores.
_TARGETS = {"plain": 1.0, "optimised": 0.95}


def run(quick: bool, images: Path | None) -> list[Case]:
    """Images per second of the queue over those of either loop, the three run in turn on the same images.

    A folder of images is run with the model of its name, if there is one (see `loops.model_of`).
    """
    data = of_folder(images) if images else crops(_IMAGES)
    rounds, share = (2, _QUICK_TURN) if quick else (5, _TURN)
    model = loops.model_of(images)
    speed = _speeds(data[:_IMAGES], model, rounds, share)
    return [
        Case.rate(
            f"{label(images)}, over the {name} loop",
            speed["queue"],
            speed[name],
            "images/s",
            images=rounds * share,
            model=model,
            target=target,
        )
        for name, target in _TARGETS.items()
    ]


def _speeds(data: list[bytes], model: str, rounds: int, share: int) -> dict[str, float]:
    """Images per second of each, by the median of so many rounds of so many images, from the first again at the end."""
    images = cycle(data)
    times: dict[str, list[float]] = {"queue": [], "plain": [], "optimised": []}
    with (
        running(embedded()) as stack,
        Client(settings=stack.settings) as client,
        loops.plain(model) as plain,
        loops.optimised(model) as optimised,
    ):
        turns: dict[str, Callable[[list[bytes]], Any]] = {
            "queue": partial(_through, client, model),
            "plain": plain,
            "optimised": optimised,
        }
        for turn in turns.values():
            turn(data[:8])  # models loaded, kernels compiled, threads started
        for _ in range(rounds):
            part = list(islice(images, share))
            for name, turn in turns.items():
                times[name].append(timed(partial(turn, part)) / share)
    return {name: 1 / median(found) for name, found in times.items()}


def _through(client: Client, model: str, images: list[bytes]) -> None:
    for result in client.map(images, model=model):
        assert result.labels.shape == result.size
