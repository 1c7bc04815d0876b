"""The second stage: packed fields → labels and objects."""

from __future__ import annotations

from producer.contract import JobStatus, MaskObject, Objects, Rle
from producer.store import Payload, PayloadStore
from segmentation.clustering import Labels, cluster
from segmentation.fields import Floats, unpack
from segmentation.labels import encode
from segmentation.objects import describe

from .handover import Handover
from .trace import span


class Cluster:
    """Fetch the fields, cluster them, store the labels and the objects."""

    def __init__(self, store: PayloadStore) -> None:
        self._store = store

    def __call__(self, job: JobStatus) -> str:
        with span("fetch", job=job.id):
            handover, fields = Handover.open(self._store.get(job.id, Payload.FIELDS))
        with span("cluster", job=job.id):
            labels, scores = cluster(unpack(fields), handover.clustering)
        with span("describe", job=job.id):
            described = _described(labels, scores, handover.model)
        with span("encode", job=job.id):
            files = (Payload.LABELS, encode(labels)), (Payload.OBJECTS, described.model_dump_json().encode())
        with span("store", job=job.id):
            self._store.put_both(job.id, *files)
        return f"{len(described.objects)} objects"

    def finished(self, job: JobStatus) -> None:
        """Drop the fields, if no one has; not before, for a second attempt would need them."""
        if not self._store.beside_ledger:
            self._store.drop(job.id, Payload.FIELDS)

    def discarded(self, job: JobStatus) -> None:
        """Drop the result."""
        self._store.drop(job.id, Payload.LABELS)
        self._store.drop(job.id, Payload.OBJECTS)


def _described(labels: Labels, scores: Floats, model: str) -> Objects:
    """The objects of a label map, as they are stored."""
    size = labels.shape[0], labels.shape[1]
    objects = tuple(
        MaskObject(
            id=found.id,
            score=round(found.score, 6),
            bbox=found.bbox,
            area=found.area,
            centroid=(round(found.centroid[0], 3), round(found.centroid[1], 3)),
            rle=Rle(size=size, counts=found.rle),
        )
        for found in describe(labels, scores.tolist())
    )
    return Objects(height=size[0], width=size[1], model=model, objects=objects)
