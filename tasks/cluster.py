"""The second stage: packed fields → labels and objects."""

from __future__ import annotations

from collections.abc import Callable

from maskq.producer.schema import JobStatus, MaskObject, Objects, Rle
from maskq.producer.state.store import Payload
from maskq.producer.state.transactions import Done
from maskq.segmentation.arrays import Floats, Labels
from maskq.segmentation.clustering.cluster import cluster
from maskq.segmentation.clustering.fields import unpack
from maskq.segmentation.labels import encode
from maskq.segmentation.objects import describe

from .field_payload import FieldPayload
from .trace import span


class Cluster:
    """Cluster the fields, and make files of the labels and the objects."""

    reads = Payload.FIELDS

    def __call__(self, job: JobStatus, read: Callable[[], bytes]) -> Done:
        """The labels and the objects. Raises `InvalidFields` and `PayloadMissing`."""
        handover, fields = FieldPayload.open(read())
        with span("cluster", job=job.id):
            labels, scores = cluster(unpack(fields), handover.clustering)
        with span("describe", job=job.id):
            described = _described(labels, scores, handover.model)
        with span("encode", job=job.id):
            files = {Payload.LABELS: encode(labels), Payload.OBJECTS: described.model_dump_json().encode()}
        return Done(f"{len(described.objects)} objects", files, spent=(Payload.FIELDS,))


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
