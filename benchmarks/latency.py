"""One image at a time through an idle stack, compared with the same work in a bare loop, in turn.

The stack is the embedded one; the loop runs the same prepared network and kernels in one process, without encoding the
result. `more` divides the queue's median into sections, in milliseconds, from the times of the client and the ledger:
they follow one another without gaps, from before `submit` until the labels are an array in the client.
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
from .sample_images import crops, label, read_folder
from .stack_settings import stack_settings

_IMAGES, _WARM = 200, 10
#: Pause between two turns, seconds: torch's threads keep spinning for a few milliseconds after inference.
_REST_S = 0.03
#: Maximum overhead of the queue at 256², milliseconds.
_TARGET_MS = 15
#: The sections of a job's time, each between two recorded moments.
SECTIONS = ("submit", "queued", "embedding", "embedded", "clustering", "fetch")
_RECORDED = (State.QUEUED, State.EMBEDDING, State.EMBEDDED, State.CLUSTERING, State.DONE)


def run(quick: bool, images: Path | None) -> list[Case]:
    """Compare seconds per image; `overhead_ms` is the median time that the queue adds to an image.

    The second case has an identity network: it separates the queue's own time from the slowdown of the network by the
    other processes.
    """
    data = read_folder(images) if images else crops(_IMAGES)
    data, model = data[: 40 if quick else _IMAGES], model_of(images)
    name = label(images)
    with tempfile.TemporaryDirectory() as folder:
        identity = identity_model(Path(folder))
        settings = stack_settings(models=folder)
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
    sections, steps = (np.array(times) for times in zip(*pairs, strict=True))
    return case(name, sections, steps)


def _pair(client: Client, loop: Any, image: bytes, model: str) -> tuple[list[float], NDArray[np.float64]]:
    """Run one image through the queue, and then through the loop."""
    time.sleep(_REST_S)
    sections = _sections(client, image, model)
    time.sleep(_REST_S)
    return sections, loop([image])[0]


def _sections(client: Client, image: bytes, model: str) -> list[float]:
    """Return the seconds of each section. The ledger's clock is this machine's, as its Redis runs here."""
    began = time.time()
    result = client.submit(image, name="picture", model=model).wait()
    assert result.labels.shape == result.size
    moments = [began, *(result.job.times[state] for state in _RECORDED), time.time()]
    return [later - earlier for earlier, later in pairwise(moments)]


def case(name: str, sections: NDArray[np.float64], steps: NDArray[np.float64]) -> Case:
    """Compare (images, sections) seconds of the queue with (images, steps) seconds of the loop."""
    queue, loop = sections.sum(1), steps.sum(1)
    details: dict[str, Any] = {"overhead_ms": _ms(np.median(queue - loop)), "target_ms": _TARGET_MS}
    for path, times in (("queue", queue), ("loop", loop)):
        details |= {f"{path}_p{percent}_ms": _ms(np.percentile(times, percent)) for percent in (50, 95, 99)}
    details |= {f"{section}_ms": _ms(value) for section, value in zip(SECTIONS, np.median(sections, 0), strict=True)}
    details |= {
        f"loop_{step}_ms": _ms(value) for step, value in zip(("fields", "objects"), np.median(steps, 0), strict=True)
    }
    return Case.seconds(name, float(np.median(queue)), float(np.median(loop)), images=len(queue), **details)


def _ms(seconds: Any) -> float:
    return round(1000 * float(seconds), 2)
