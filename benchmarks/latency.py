"""One image at a time through an idle stack, beside the same work in a bare loop, in turn.

The stack is the embedded one; the loop runs the same prepared network and kernels in one process, without encoding
what it finds. `more` divides the queue's median by what the client saw and what the ledger noted, in milliseconds:
the sections follow one another without gaps, from before `submit` until the labels are an array in the client.
"""

from __future__ import annotations

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskq.producer.client.client import Client
from maskq.producer.schema import State
from maskq.workers.local.stack import running

from .harness import Case
from .identity import identity_model
from .loops import model_of, optimised
from .pictures import crops, label, of_folder
from .stacks import embedded

_IMAGES, _WARM = 200, 10
#: Between one turn and the next: torch's threads go on spinning for a few milliseconds after a forward.
_REST_S = 0.03
#: Milliseconds that the queue may add at 256².
_TARGET_MS = 15
#: Where a job is between the moments that are noted of it.
SECTIONS = ("submit", "queued", "embedding", "embedded", "clustering", "fetch")
_NOTED = (State.QUEUED, State.EMBEDDING, State.EMBEDDED, State.CLUSTERING, State.DONE)


def run(quick: bool, images: Path | None) -> list[Case]:
    """Seconds an image of the queue and of the loop; `overhead_ms` is the median of what the queue adds to an image.

    Once with a model that segments, once with one whose network costs nothing: the second tells the queue's own time
    from what two processes take from each other's network.
    """
    data = of_folder(images) if images else crops(_IMAGES)
    data, model = data[: 40 if quick else _IMAGES], model_of(images)
    name = label(images)
    with tempfile.TemporaryDirectory() as folder:
        identity = identity_model(Path(folder))
        settings = embedded(models=folder)
        with running(settings) as stack, Client(settings=stack.settings) as client:
            return [
                _compare(client, data, name, model, ()),
                _compare(client, data, f"{name}, {identity} network", identity, (folder,)),
            ]


def _compare(client: Client, data: list[bytes], name: str, model: str, folders: tuple[str, ...]) -> Case:
    with optimised(model, folders) as loop:
        for image in data[:_WARM]:
            _pair(client, loop, image, model)
        pairs = [_pair(client, loop, image, model) for image in data]
    sections, steps = (np.array(found) for found in zip(*pairs, strict=True))
    return case(name, sections, steps)


def _pair(client: Client, loop: Any, image: bytes, model: str) -> tuple[list[float], NDArray[np.float64]]:
    """One image through the queue, and then through the loop."""
    time.sleep(_REST_S)
    sections = _through(client, image, model)
    time.sleep(_REST_S)
    return sections, loop([image])[0]


def _through(client: Client, image: bytes, model: str) -> list[float]:
    """Seconds of each section. The ledger's clock is this machine's, as its Redis is."""
    began = time.time()
    result = client.submit(image, name="picture", model=model).wait()
    assert result.labels.shape == result.size
    moments = [began, *(result.job.times[state] for state in _NOTED), time.time()]
    return [later - earlier for earlier, later in pairwise(moments)]


def case(name: str, sections: NDArray[np.float64], steps: NDArray[np.float64]) -> Case:
    """The comparison of (images, sections) seconds of the queue with (images, steps) seconds of the loop."""
    queue, loop = sections.sum(1), steps.sum(1)
    told: dict[str, Any] = {"overhead_ms": _ms(np.median(queue - loop)), "target_ms": _TARGET_MS}
    for who, times in (("queue", queue), ("loop", loop)):
        told |= {f"{who}_p{percent}_ms": _ms(np.percentile(times, percent)) for percent in (50, 95, 99)}
    told |= {f"{section}_ms": _ms(value) for section, value in zip(SECTIONS, np.median(sections, 0), strict=True)}
    told |= {
        f"loop_{step}_ms": _ms(value) for step, value in zip(("fields", "objects"), np.median(steps, 0), strict=True)
    }
    return Case.seconds(name, float(np.median(queue)), float(np.median(loop)), images=len(queue), **told)


def _ms(seconds: Any) -> float:
    return round(1000 * float(seconds), 2)
