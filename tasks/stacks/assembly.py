"""Puts the results of a stack's planes together: one label stack, and one table of objects with plane numbers.

The planes' results are read one by one; twice if objects are joined across planes, first to number them.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from pydantic_core import from_json, to_json

from maskq.producer.errors import UnknownJob
from maskq.producer.schema import JobStatus, Objects, State
from maskq.producer.state.keys import plane_id
from maskq.producer.state.ledger import StageResult
from maskq.producer.state.store import Payload
from maskq.segmentation.arrays import Labels
from maskq.segmentation.errors import PlanesFailed
from maskq.segmentation.label_stack import encode_stack
from maskq.segmentation.labels import decode
from maskq.segmentation.linking import Linker, Numbering

from .. import leases
from ..trace import span
from .manifest import Manifest

#: The number of failed planes whose reasons a message gives, and of notes that a result has.
_MAX_REASONS, _MAX_NOTES = 3, 20


class PlaneResults(Protocol):
    """The records and payloads of the planes' jobs: the ledger has them."""

    def status(self, job_id: str) -> JobStatus:
        """Raises `UnknownJob`."""
        ...

    def payload(self, job_id: str, kind: Payload) -> bytes:
        """Raises `PayloadMissing`."""
        ...


def assemble(job: JobStatus, manifest: Manifest, results: PlaneResults) -> StageResult:
    """The labels and objects of a stack. Raises `PlanesFailed` if a plane has no result, and `PayloadMissing`."""
    _check_all_done(job, manifest.planes, results)
    reader = _Planes(job.id, manifest, results)
    numberings = None
    if job.spec.options.link:
        with span("link", job=job.id):
            numberings = _link(reader.labels(), manifest, job.spec.options.link_threshold)
    with span("objects", job=job.id):
        table = _Table(reader, numberings)
    with span("encode", job=job.id):
        labels = encode_stack(
            reader.labels(numberings), manifest.axes, manifest.shape, manifest.size, table.largest, table.pixel_size
        )
    payloads = {Payload.LABELS: labels, Payload.OBJECTS: table.encode()}
    summary = f"{table.count} objects in {len(manifest.planes)} planes"
    return StageResult(summary, payloads, obsolete=(Payload.FIELDS,))


def _check_all_done(job: JobStatus, planes: Sequence[int], results: PlaneResults) -> None:
    failed: dict[int, str] = {}
    for number in planes:
        try:
            status = results.status(plane_id(job.id, number))
        except UnknownJob:
            failed[number] = "its record is lost"
            continue
        if status.state is not State.DONE:
            failed[number] = f"{status.error.type}: {status.error.message}" if status.error else status.state
    if failed:
        first = "; ".join(f"plane {number}: {failed[number]}" for number in [*failed][:_MAX_REASONS])
        others = [*failed][_MAX_REASONS:]
        more = f"; and {len(others)} more: {', '.join(map(str, others))}"[:200] if others else ""
        raise PlanesFailed(f"{job.spec.name}: {len(failed)} of {len(planes)} planes have no result: {first}{more}")


def _link(planes: Iterator[Labels], manifest: Manifest, threshold: float) -> list[Numbering]:
    """The numbers of each plane's objects through the stack, along its last axis."""
    linker, numberings = Linker(threshold), []
    for number, labels in zip(manifest.planes, planes, strict=True):
        if (number - 1) % manifest.row == 0:
            linker.restart()
        numberings.append(linker.add(labels))
    return numberings


class _Planes:
    """Reads the planes' results, one at a time."""

    def __init__(self, job_id: str, manifest: Manifest, results: PlaneResults) -> None:
        self._job_id, self.manifest, self._results = job_id, manifest, results

    def labels(self, numberings: Sequence[Numbering] | None = None) -> Iterator[Labels]:
        """The (H, W) labels of each plane, renumbered if `numberings` are given."""
        for index, file in enumerate(self._payloads(Payload.LABELS)):
            labels = decode(file)
            yield labels if numberings is None else np.take(numberings[index], labels)

    def objects(self) -> Iterator[dict[str, Any]]:
        """The objects of each plane: the JSON of `schema.Objects`."""
        return map(from_json, self._payloads(Payload.OBJECTS))

    def _payloads(self, kind: Payload) -> Iterator[bytes]:
        for number in self.manifest.planes:
            leases.check()
            yield self._results.payload(plane_id(self._job_id, number), kind)


class _Table:
    """The objects of all planes as JSON: parsed together, those of a large stack would take gigabytes."""

    def __init__(self, planes: _Planes, numberings: Sequence[Numbering] | None) -> None:
        #: Objects of all planes; one that goes through several counts in each.
        self.count, self.largest = 0, 0
        self.pixel_size: tuple[float, float] | None = None
        self._manifest, self._rows, self._head = planes.manifest, list[bytes](), dict[str, Any]()
        notes: dict[str, None] = {}
        for index, found in enumerate(planes.objects()):
            self._add(found.pop("objects"), planes.manifest.planes[index], numberings[index] if numberings else None)
            notes |= dict.fromkeys(found.get("notes", ()))
            self._head = self._head or found
        self._head["notes"] = [*notes][:_MAX_NOTES]
        if pixel_size := self._head.get("pixel_size"):
            self.pixel_size = (pixel_size[0], pixel_size[1])

    def _add(self, rows: list[dict[str, Any]], plane: int, numbering: Numbering | None) -> None:
        for row in rows:
            row["plane"] = plane
            if numbering is not None:
                row["id"] = int(numbering[row["id"]])
            self.largest = max(self.largest, row["id"])
        self.count += len(rows)
        if rows:
            self._rows.append(to_json(rows)[1:-1])

    def encode(self) -> bytes:
        """`schema.Objects` as JSON."""
        manifest = self._manifest
        stack = {"axes": f"{manifest.axes}YX", "shape": manifest.shape, "planes": manifest.planes}
        head = Objects.model_validate(self._head | stack | {"objects": ()}).model_dump_json(exclude_defaults=True)
        return b"%b%b]}" % (head.encode().removesuffix(b"]}"), b",".join(self._rows))
