"""The second stage: packed fields → labels and objects; or those of a stack from those of its planes."""

from collections.abc import Callable

from maskq.producer.schema import JobStatus, MaskObject, Objects, Rle
from maskq.producer.state.ledger import StageResult
from maskq.producer.state.store import Payload
from maskq.segmentation.arrays import Floats, Labels
from maskq.segmentation.clustering.cluster import cluster
from maskq.segmentation.clustering.fields import unpack
from maskq.segmentation.labels import encode
from maskq.segmentation.objects import describe

from . import field_payload
from .field_payload import FieldHeader
from .stacks.assembly import PlaneResults, assemble
from .stacks.manifest import Manifest
from .trace import span


class Cluster:
    """The work of the second stage: cluster the fields; encode the labels and the objects."""

    reads = Payload.FIELDS

    def __init__(self, planes: PlaneResults) -> None:
        """`planes` has the results of a stack's planes: the ledger."""
        self._planes = planes

    def __call__(self, job: JobStatus, read: Callable[[], bytes]) -> StageResult:
        """The labels and the objects. Raises `InvalidFields`, `PayloadMissing` and `PlanesFailed`."""
        if job.planes:
            return assemble(job, Manifest.decode(read()), self._planes)
        header, fields = field_payload.decode(read())
        with span("cluster", job=job.id):
            labels, scores = cluster(unpack(fields), header.clustering)
        with span("describe", job=job.id):
            objects = _objects(labels, scores, header)
        with span("encode", job=job.id):
            stored = objects.model_dump_json(exclude_defaults=True).encode()
            payloads = {Payload.LABELS: encode(labels), Payload.OBJECTS: stored}
        # A stack's plane needs its image no longer: the stack has it.
        obsolete = (Payload.FIELDS, Payload.IMAGE) if job.parent else (Payload.FIELDS,)
        return StageResult(f"{len(objects.objects)} objects", payloads, obsolete=obsolete)


def _objects(labels: Labels, scores: Floats, header: FieldHeader) -> Objects:
    """The objects of a label image, as they are stored."""
    size = labels.shape[0], labels.shape[1]
    objects = tuple(
        MaskObject(
            id=described.id,
            score=round(described.score, 6),
            bbox=described.bbox,
            area=described.area,
            centroid=(round(described.centroid[0], 3), round(described.centroid[1], 3)),
            rle=Rle(size=size, counts=described.rle),
        )
        for described in describe(labels, scores.tolist())
    )
    return Objects(height=size[0], width=size[1], model=header.model, objects=objects, **dict(header.image))
