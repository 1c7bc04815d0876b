"""A stack's planes, whose results are given, become one label stack and one table; and a stack becomes planes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from maskq.producer.errors import UnknownJob
from maskq.producer.schema import Failure, JobSpec, JobStatus, Objects, Options, State
from maskq.producer.state.ledger import Plane, StageResult
from maskq.producer.state.store import Payload
from maskq.segmentation.clustering.cluster import Clustering
from maskq.segmentation.errors import AmbiguousChannels, ImageTooLarge, InvalidFields, PlanesFailed
from maskq.segmentation.images import ChannelKind, Image, Stack, read_image
from maskq.segmentation.labels import encode
from maskq.segmentation.models.registry import ModelRegistry
from maskq.tasks.cluster import _objects
from maskq.tasks.field_payload import FieldHeader
from maskq.tasks.stacks.assembly import assemble
from maskq.tasks.stacks.manifest import Manifest
from maskq.tasks.stacks.splitting import StackLimits, split

NUCLEI = ModelRegistry().find("nuclei").spec
LIMITS = StackLimits(max_planes=10, max_bytes=1 << 20)


def job(**options: Any) -> JobStatus:
    spec = JobSpec(name="cells.tif", options=Options(**({"planes": "all"} | options)))
    return JobStatus(id="job", state=State.CLUSTERING, spec=spec, lane="varied", times={State.QUEUED: 1}, attempts={})


class Results:
    """The planes' results: `labels` (N, H, W), with numbers from `first`."""

    def __init__(self, labels: NDArray[np.int32], first: int = 1, **info: Any) -> None:
        self.jobs: dict[str, JobStatus] = {}
        self.payloads: dict[tuple[str, Payload], bytes] = {}
        for number, plane in enumerate(labels, first):
            name = f"job-{number:05d}"
            header = FieldHeader(model="nuclei@1", clustering=Clustering(), image=info)
            objects = _objects(plane, np.full(plane.max(), 0.5, np.float32), header)
            self.jobs[name] = job().model_copy(update={"id": name, "state": State.DONE})
            self.payloads[name, Payload.LABELS] = encode(plane)
            self.payloads[name, Payload.OBJECTS] = objects.model_dump_json(exclude_defaults=True).encode()

    def status(self, job_id: str) -> JobStatus:
        if job_id not in self.jobs:
            raise UnknownJob(job_id)
        return self.jobs[job_id]

    def payload(self, job_id: str, kind: Payload) -> bytes:
        return self.payloads[job_id, kind]

    def end(self, number: int, state: State, failure: Failure | None = None) -> None:
        name = f"job-{number:05d}"
        self.jobs[name] = self.jobs[name].model_copy(update={"state": state, "error": failure})


def manifest(planes: NDArray[np.int32], first: int = 1, row: int = 100, axes: str = "Z") -> Manifest:
    count, height, width = planes.shape
    numbers = tuple(range(first, first + count))
    return Manifest(axes=axes, shape=(count,), size=(height, width), planes=numbers, row=row)


def unpacked(result: StageResult) -> tuple[Objects, NDArray[np.int32]]:
    labels = tifffile.imread(io.BytesIO(result.payloads[Payload.LABELS]))
    return Objects.model_validate_json(result.payloads[Payload.OBJECTS]), np.asarray(labels)


PLANES = np.zeros((3, 6, 8), np.int32)
PLANES[0, 1:4, 1:4], PLANES[0, 1:4, 5:8] = 1, 2
PLANES[1, 1:4, 1:4], PLANES[1, 1:4, 5:8] = 2, 1
PLANES[2, 4:6, 1:4] = 1


def test_labels_and_objects_are_those_of_the_planes_with_their_numbers() -> None:
    results = Results(PLANES, 4, channels=("2 (DAPI)",), pixel_size=(0.5, 0.25), notes=("a note",))
    result = assemble(job(), manifest(PLANES, 4), results)
    objects, labels = unpacked(result)
    assert np.array_equal(labels, PLANES) and labels.dtype == np.uint16
    assert [(item.plane, item.id, item.area) for item in objects.objects] == [
        (4, 1, 9),
        (4, 2, 9),
        (5, 1, 9),
        (5, 2, 9),
        (6, 1, 6),
    ]
    assert (objects.axes, objects.shape, objects.planes, objects.height, objects.width) == (
        "ZYX",
        (3,),
        (4, 5, 6),
        6,
        8,
    )
    assert (objects.channels, objects.pixel_size, objects.notes) == (("2 (DAPI)",), (0.5, 0.25), ("a note",))
    assert result.summary == "5 objects in 3 planes"


def test_linked_objects_have_one_number_and_the_numbers_of_the_labels() -> None:
    objects, labels = unpacked(assemble(job(link="iou"), manifest(PLANES), Results(PLANES)))
    assert np.array_equal(labels[0] > 0, labels[1] > 0) and np.array_equal(labels[0], labels[1])
    assert np.unique(labels).tolist() == [0, 1, 2, 3]
    assert [(item.plane, item.id) for item in objects.objects] == [(1, 1), (1, 2), (2, 2), (2, 1), (3, 3)]


def test_objects_are_not_linked_from_one_row_to_the_next() -> None:
    same = np.stack([PLANES[0]] * 4)
    _, labels = unpacked(assemble(job(link="iou"), manifest(same, first=2, row=2), Results(same, 2)))
    assert [plane.max() for plane in labels] == [2, 4, 4, 6]


def test_a_stack_without_objects_is_a_result() -> None:
    objects, labels = unpacked(assemble(job(link="iou"), manifest(PLANES * 0), Results(PLANES * 0)))
    assert objects.objects == () and not labels.any()


def test_labels_of_many_objects_have_32_bits() -> None:
    many = np.arange(300 * 300, dtype=np.int32).reshape(1, 300, 300)
    _, labels = unpacked(assemble(job(), manifest(many), Results(many)))
    assert labels.dtype == np.int32 and np.array_equal(labels.reshape(many.shape), many)


def test_planes_without_a_result_are_named_with_the_first_reasons() -> None:
    planes = np.zeros((6, 2, 2), np.int32)
    results = Results(planes)
    results.end(2, State.FAILED, Failure(type="NonFiniteImage", message="4 values are NaN"))
    results.end(3, State.EXPIRED)
    del results.jobs["job-00004"]
    results.end(6, State.DEAD, Failure(type="JobDead", message="gave up"))
    with pytest.raises(PlanesFailed) as failed:
        assemble(job(), manifest(planes), results)
    assert str(failed.value) == (
        "cells.tif: 4 of 6 planes have no result: plane 2: NonFiniteImage: 4 values are NaN; plane 3: expired; "
        "plane 4: its record is lost; and 1 more: 6"
    )


def test_notes_of_planes_are_told_once_and_are_bounded() -> None:
    results = Results(PLANES[:2])
    for number in (1, 2):
        found = Objects.model_validate_json(results.payloads[f"job-{number:05d}", Payload.OBJECTS])
        notes = ("common", *(f"{number}-{note}" for note in range(15)))
        text = found.model_copy(update={"notes": notes}).model_dump_json(exclude_defaults=True)
        results.payloads[f"job-{number:05d}", Payload.OBJECTS] = text.encode()
    objects, _ = unpacked(assemble(job(), manifest(PLANES[:2]), results))
    assert len(objects.notes) == 20 and objects.notes[0] == "common" and objects.notes.count("common") == 1


def test_other_bytes_are_no_manifest() -> None:
    with pytest.raises(InvalidFields, match="no manifest of a stack"):
        Manifest.decode(b"fields")
    assert Manifest.decode(manifest(PLANES).encode()) == manifest(PLANES)


# Splitting


def stack(pixels: NDArray[Any], kind: ChannelKind = ChannelKind.GREY, names: tuple[str, ...] = ()) -> Stack:
    """A stack of (N, H, W, C) planes."""
    size = pixels.shape[1], pixels.shape[2]
    return Stack("Z", pixels.shape[:1], size, lambda index: Image(pixels[index], kind, names, (0.5, 0.5), ("said",)))


def plane_list(result: StageResult) -> list[Plane]:
    return list(result.planes or ())


def test_each_plane_is_a_job_that_reads_back_its_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, (4, 5, 6, 2), np.uint16)
    status = job(planes="2-3", channels="DAPI", link="iou", axes="ZYXC", scene=3, tta=True, min_pixels=7)
    result = split(status, stack(pixels, ChannelKind.SEPARATE, ("BF", "DAPI")), [2, 3], NUCLEI, LIMITS)
    planes = plane_list(result)
    assert [(plane.number, plane.spec.name, plane.shape) for plane in planes] == [
        (2, "cells.tif [Z=2]", "5x6"),
        (3, "cells.tif [Z=3]", "5x6"),
    ]
    assert {plane.spec.model for plane in planes} == {NUCLEI.ref}
    assert planes[0].spec.options == Options(channels="DAPI", tta=True, min_pixels=7)
    image = read_image(planes[1].image)
    assert isinstance(image, Image) and np.array_equal(image.pixels, pixels[2])
    assert (image.kind, image.channel_names) == (ChannelKind.SEPARATE, ("BF", "DAPI"))
    assert (image.pixel_size, image.notes) == ((0.5, 0.5), ("said",))
    made = Manifest.decode(result.payloads[Payload.FIELDS])
    assert made == Manifest(axes="Z", shape=(2,), size=(5, 6), planes=(2, 3), row=4)


def test_a_long_name_has_room_for_the_plane() -> None:
    status = job()
    status = status.model_copy(update={"spec": status.spec.model_copy(update={"name": "n" * 255})})
    (plane,) = plane_list(split(status, stack(np.zeros((1, 2, 2, 1), np.uint8)), [1], NUCLEI, LIMITS))
    assert len(plane.spec.name) == 255 and plane.spec.name.endswith("n [Z=1]")


def test_planes_are_read_one_by_one_while_they_are_stored() -> None:
    reads: list[int] = []

    def read(index: int) -> Image:
        reads.append(index)
        return Image.of(np.zeros((2, 2, 1), np.uint8))

    planes: Iterator[Plane] = iter(split(job(), Stack("Z", (3,), (2, 2), read), [1, 2, 3], NUCLEI, LIMITS).planes or ())
    assert reads == []
    next(planes)
    assert reads == [0]


def test_what_is_wrong_with_the_channels_is_told_once_for_the_stack() -> None:
    separate = stack(np.zeros((2, 2, 2, 2), np.uint8), ChannelKind.SEPARATE, ("BF", "DAPI"))
    with pytest.raises(AmbiguousChannels, match="DAPI"):
        plane_list(split(job(), separate, [1, 2], NUCLEI, LIMITS))


def test_a_plane_of_another_size_is_refused_by_its_number() -> None:
    images = [Image.of(np.zeros((2, 2, 1), np.uint8)), Image.of(np.zeros((2, 3, 1), np.uint8))]
    differs = Stack("Z", (2,), (2, 2), lambda index: images[index])
    with pytest.raises(PlanesFailed, match=r"plane 2 \(Z=2\): 2×3 pixels, others have 2×2"):
        plane_list(split(job(), differs, [1, 2], NUCLEI, LIMITS))


def test_planes_that_are_too_large_together_are_refused_while_they_are_read() -> None:
    wide = stack(np.zeros((4, 8, 8, 1), np.float64))
    with pytest.raises(ImageTooLarge, match="more than 1,500 bytes together"):
        plane_list(split(job(), wide, [1, 2, 3, 4], NUCLEI, StackLimits(10, 1500)))
