"""A submitted job, its result, and the ways in which it ends without one."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import JobCancelled, JobDead, JobExpired, JobFailed, JobUnfinished, ResultNotReady, WaitTimeout
from ..schema import Failure, JobStatus, MaskObject, Objects, State
from ..state.connections import Connections
from ..state.store import Payload
from ..state.transactions import Desk, Results

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: What a result is made of.
_RESULT = Payload.OBJECTS, Payload.LABELS
_ENDINGS: dict[State, type[JobUnfinished]] = {
    State.FAILED: JobFailed,
    State.CANCELLED: JobCancelled,
    State.EXPIRED: JobExpired,
    State.DEAD: JobDead,
}


@dataclass(frozen=True)
class Result:
    """A finished job's masks."""

    job: JobStatus
    size: tuple[int, int]
    """Height and width, pixels."""
    model: str
    """The model and its version, `nuclei@1`."""
    objects: tuple[MaskObject, ...]
    label_file: bytes
    """The labels as a file: 16-bit PNG, or 32-bit TIFF beyond 65,535 objects."""

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """(H, W) int32: 0 is background, else the object's id."""
        import numpy as np
        from PIL import PngImagePlugin, TiffImagePlugin

        # Not `Image.open`, which refuses what is large: this file is our own, and as large as the image that was sent.
        png = self.label_file.startswith(b"\x89PNG")
        kind = PngImagePlugin.PngImageFile if png else TiffImagePlugin.TiffImageFile
        with kind(io.BytesIO(self.label_file)) as image:
            return np.asarray(image).astype(np.int32)


class Job:
    """A submitted job. Only its id matters: `Client.job(id)` makes the same anywhere, at any time."""

    def __init__(self, job_id: str, connections: Connections) -> None:
        self.id = job_id
        self._to = connections

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    @property
    def state(self) -> State:
        """Where it is now. Raises `UnknownJob`."""
        return self._to.ledger.state(self.id)

    def status(self) -> JobStatus:
        """State, times, attempts, error. Raises `UnknownJob`."""
        return self._to.ledger.status(self.id)

    def wait(self, timeout: float | None = None) -> Result:
        """The result, once it is there.

        Raises `WaitTimeout` after `timeout` seconds, and `JobFailed`, `JobCancelled`, `JobExpired` or `JobDead` where
        the job ended without one.
        """
        status, came = Desk(self._to.ledger, self._to.store).wait(self.id, timeout, _RESULT)
        if not status.state.ended:
            raise WaitTimeout(
                f"job {self.id} is {status.state} after {timeout:g} s; it goes on, wait again or cancel it"
            )
        return self._result(status, came)

    def result(self) -> Result:
        """The result of a job that is done. Raises `ResultNotReady`, or as `wait` does."""
        return self._result(self.status(), {})

    def labels_file(self) -> bytes:
        """The label image's file alone, of a job that is done. Raises as `result` does."""
        self._check_done(self.status())
        return self._to.store.get(self.id, Payload.LABELS)

    def objects_json(self) -> bytes:
        """The objects alone, as they are stored: `contract.Objects` as JSON. Raises as `result` does."""
        self._check_done(self.status())
        return self._to.store.get(self.id, Payload.OBJECTS)

    def _check_done(self, status: JobStatus) -> None:
        if ending := _ENDINGS.get(status.state):
            raise ending(self.id, status.error or Failure(type=ending.__name__, message=f"the job is {status.state}"))
        if status.state is not State.DONE:
            raise ResultNotReady(f"job {self.id} is {status.state}; wait for it")

    def _result(self, status: JobStatus, came: Results) -> Result:
        self._check_done(status)
        objects, labels = (came.get(kind) or self._to.store.get(self.id, kind) for kind in _RESULT)
        found = Objects.model_validate_json(objects)
        return Result(status, (found.height, found.width), found.model, found.objects, labels)

    def image(self) -> bytes:
        """The image as it was submitted. Raises `PayloadMissing` where it is no longer kept."""
        return self._to.store.get(self.id, Payload.IMAGE)

    def cancel(self, call: str | None = None) -> State:
        """Cancel it unless it has ended; returns the state it then has. What a worker has in hand is thrown away.

        Where others submitted the same, it goes on until each has cancelled; a `call` of the same name counts once.
        """
        state = self._to.ledger.cancel(self.id, call)
        if state is State.CANCELLED:
            for kind in Payload:
                self._to.store.drop(self.id, kind)
        return state
