"""Results of given labels, as a client gets them, without workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskq import JobStatus, MaskObject, Options, Result, State
from maskq.producer.formats.folder import ResultFolder
from maskq.producer.formats.registry import DEFAULT
from maskq.producer.schema import JobSpec, Rle
from maskq.segmentation.label_stack import encode_stack
from maskq.segmentation.labels import encode
from maskq.segmentation.objects import describe as objects_of


def result_of(labels: NDArray[np.int32], described: bool = True) -> Result:
    times = {State.QUEUED: 1.0, State.EMBEDDING: 2.0, State.EMBEDDED: 4.0, State.CLUSTERING: 7.0, State.DONE: 11.0}
    job = JobStatus(id="j1", state=State.DONE, spec=JobSpec(name="cells.png"), lane="varied", times=times, attempts={})
    objects = tuple(
        MaskObject(
            id=o.id, score=o.score, bbox=o.bbox, area=o.area, centroid=o.centroid, rle=Rle(size=o.size, counts=o.rle)
        )
        for o in (objects_of(labels, [0.75] * int(labels.max())) if described else [])
    )
    return Result(job, (labels.shape[0], labels.shape[1]), "nuclei@1", objects, encode(labels))


def stack_result(planes: NDArray[np.int32], link: bool = False) -> Result:
    """The result of a stack with (N, H, W) labels, whose planes are numbered from 3."""
    one = result_of(planes[0])
    numbers = tuple(range(3, 3 + len(planes)))
    objects = [
        item.model_copy(update={"plane": number})
        for number, plane in zip(numbers, planes, strict=True)
        for item in result_of(plane).objects
    ]
    options = Options(planes=f"3-{numbers[-1]}", link="iou" if link else None, axes="ZYX")
    return replace(
        one,
        job=one.job.model_copy(update={"spec": JobSpec(name="cells.npy", options=options)}),
        objects=tuple(objects),
        label_file=encode_stack(planes, "Z", (len(planes),), one.size, int(planes.max())),
        axes="ZYX",
        shape=(len(planes),),
        planes=numbers,
    )


def write_result(result: Result, image: bytes, folder: Path, name: str, formats: str = DEFAULT) -> dict[str, Path]:
    """The files of one result, by format. Raises the error of a format that can't represent it."""
    with ResultFolder(folder, formats) as files:
        return files.write(result, image=image, name=name)
