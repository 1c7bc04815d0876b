"""A submitted job and its result."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import JobCancelled, JobDead, JobExpired, JobFailed, JobUnfinished, ResultNotReady, WaitTimeout
from ..schema import Failure, JobStatus, MaskObject, Objects, State
from ..state.broker_errors import broker_errors
from ..state.connections import Connections
from ..state.pieces import PieceReader
from ..state.store import Payload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The payloads of a result.
RESULT = Payload.OBJECTS, Payload.LABELS
_ENDINGS: dict[State, type[JobUnfinished]] = {
    State.FAILED: JobFailed,
    State.CANCELLED: JobCancelled,
    State.EXPIRED: JobExpired,
    State.DEAD: JobDead,
}


@dataclass(frozen=True)
class Result:
    """The masks of a job that is done."""

    job: JobStatus
    size: tuple[int, int]
    """Height and width of the image or, for a stack, of a plane; pixels."""
    model: str
    """The model and its version, such as `nuclei@1`."""
    objects: tuple[MaskObject, ...]
    """The objects; of a stack, those of each plane. An object that `link` joined through planes has a row in each."""
    label_file: bytes
    """The labels as an image file: 16-bit PNG, or 32-bit TIFF if there are more than 65,535 objects. Those of a stack
    are a TIFF with a page per plane, of 16 or 32 bits."""
    channels: tuple[str, ...] = ()
    """The channels that were segmented: number and name, such as `2 (DAPI)`, or `grey`, `RGB`."""
    pixel_size: tuple[float, float] | None = None
    """Height and width of a pixel, micrometres; None if the file does not say."""
    notes: tuple[str, ...] = ()
    """What was done to the file's values that a user may want to know, one sentence each."""
    axes: str = "YX"
    """The axes of `labels`: `YX`, or those of a stack, such as `ZYX`."""
    shape: tuple[int, ...] = ()
    """The lengths of the axes before `YX`; empty if the image is no stack."""
    planes: tuple[int, ...] = ()
    """The number of each plane in the submitted stack, from 1; empty if the image is no stack."""

    def to(self, format: str, *, image: bytes = b"", simplify: float = 0.0) -> bytes:
        """The result as a file of a format, such as `geojson`: docs/formats.md lists them.

        `image` is the image file (`Job.image`), which `overlay` draws on. `simplify` leaves out corners of polygons
        that are nearer than this to the rest, pixels. Raises `UnknownFormat`, `FormatNotApplicable` and
        `FormatUnavailable`.
        """
        from ..formats.registry import find_format
        from ..formats.result_format import FormatOptions

        return find_format(format).encode(self, FormatOptions(image, simplify))

    def save(self, path: str | Path, format: str | None = None, *, image: bytes = b"", simplify: float = 0.0) -> Path:
        """Write the result to a file, or a folder if the format is one, and return its path; otherwise as `to`.

        Without a format, the path's ending chooses it, such as `.geojson`.
        """
        from ..formats.registry import find_format, format_of_file
        from ..formats.result_format import FormatOptions

        path = Path(path)
        chosen = format_of_file(path.name) if format is None else find_format(format)
        chosen.write(self, path, FormatOptions(image, simplify))
        return path

    @property
    def count(self) -> int:
        """The number of objects; one that goes through several planes of a stack counts once."""
        linked = self.planes and self.job.spec.options.link
        return len({item.id for item in self.objects}) if linked else len(self.objects)

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """(H, W) int32: 0 is background, every other value an object's id. Of a stack: its shape, then (H, W).

        Without `link`, the ids of each plane of a stack begin at 1.
        """
        import numpy as np

        planes = [*self.label_planes()]
        return np.stack(planes).reshape(*self.shape, *self.size) if self.planes else planes[0]

    def label_planes(self) -> Iterator[NDArray[np.int32]]:
        """The (H, W) labels, one plane of a stack after the other: `labels` has all in memory."""
        import numpy as np

        for labels in self.stored_planes():
            yield labels.astype(np.int32)

    def stored_planes(self) -> Iterator[NDArray[np.integer[Any]]]:
        """`label_planes` in the type of the file: uint16, or int32 if an id of any plane exceeds 65,535."""
        import numpy as np
        from PIL import PngImagePlugin, TiffImagePlugin

        # Not `Image.open`, which rejects large images: this file is maskq's own and as large as the submitted image.
        png = self.label_file.startswith(b"\x89PNG")
        kind = PngImagePlugin.PngImageFile if png else TiffImagePlugin.TiffImageFile
        with kind(io.BytesIO(self.label_file)) as image:
            for page in range(len(self.planes) - 1):
                image.seek(page)
                yield np.asarray(image)
            image.seek(max(0, len(self.planes) - 1))
            last = np.asarray(image)
        yield last  # without Pillow's copy of it


class Job:
    """A submitted job. `Client.job(id)` gives the same job in any process at any time."""

    def __init__(self, job_id: str, connections: Connections) -> None:
        self.id = job_id
        self._connections = connections

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    @property
    @broker_errors()
    def state(self) -> State:
        """The job's current state. Raises `UnknownJob`."""
        return self._connections.ledger.state(self.id)

    @broker_errors()
    def status(self) -> JobStatus:
        """The job's state, times, attempts and error. Raises `UnknownJob`."""
        return self._connections.ledger.status(self.id)

    @broker_errors()
    def wait(self, timeout: float | None = None) -> Result:
        """Wait for the result, `timeout` seconds at most.

        Raises `WaitTimeout`, `UnknownJob`, and `JobFailed`, `JobCancelled`, `JobExpired` or `JobDead` if the job ends
        without a result.
        """
        status, payloads = self._connections.ledger.wait_with(self.id, timeout, RESULT)
        if not status.state.ended:
            unserved = self._connections.unserved()
            raise WaitTimeout(
                f"job {self.id} is {status.state} after {timeout:g} s; it goes on, wait again or cancel it"
                + (f"; {unserved}" if unserved else "")
            )
        return self._result(status, payloads)

    @broker_errors()
    def result(self) -> Result:
        """The result of a job that is done. Raises `ResultNotReady`, and the errors of `wait` except `WaitTimeout`."""
        return self._result(self.status(), {})

    @broker_errors()
    def labels_file(self) -> bytes:
        """Only the label image's file, for a job that is done. Raises the errors of `result`."""
        self._check_done(self.status())
        return self._connections.store.get(self.id, Payload.LABELS)

    @broker_errors()
    def objects_json(self) -> bytes:
        """Only the objects, `schema.Objects` as stored JSON, for a job that is done. Raises the errors of `result`."""
        self._check_done(self.status())
        return self._connections.store.get(self.id, Payload.OBJECTS)

    @broker_errors()
    def read_labels(self) -> PieceReader:
        """As `labels_file`, piece by piece."""
        self._check_done(self.status())
        return self._connections.store.read(self.id, Payload.LABELS)

    @broker_errors()
    def read_objects(self) -> PieceReader:
        """As `objects_json`, piece by piece."""
        self._check_done(self.status())
        return self._connections.store.read(self.id, Payload.OBJECTS)

    def _check_done(self, status: JobStatus) -> None:
        if ending := _ENDINGS.get(status.state):
            raise ending(self.id, status.error or Failure(type=ending.__name__, message=f"the job is {status.state}"))
        if status.state is not State.DONE:
            raise ResultNotReady(f"job {self.id} is {status.state}; wait for it")

    def _result(self, status: JobStatus, payloads: Mapping[Payload, bytes]) -> Result:
        self._check_done(status)
        missing = [kind for kind in RESULT if kind not in payloads]
        fetched = dict(zip(missing, self._connections.store.get_all(self.id, missing), strict=True))
        objects, labels = ({**payloads, **fetched}[kind] for kind in RESULT)
        stored = Objects.model_validate_json(objects)
        return Result(
            status,
            (stored.height, stored.width),
            stored.model,
            stored.objects,
            labels,
            channels=stored.channels,
            pixel_size=stored.pixel_size,
            notes=stored.notes,
            axes=stored.axes,
            shape=stored.shape,
            planes=stored.planes,
        )

    @broker_errors()
    def image(self) -> bytes:
        """The image file as submitted. Raises `PayloadMissing` if it is no longer stored."""
        return self._connections.store.get(self.id, Payload.IMAGE)

    @broker_errors()
    def cancel(self) -> State:
        """Cancel the job unless it has ended; returns its new state. A running worker's output is discarded.

        Other jobs are not affected, even if they wait for the result of this one: one of them computes it. Raises
        `UnknownJob`.
        """
        return self._connections.ledger.cancel(self.id)
