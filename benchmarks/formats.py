"""Each result format's time compared with the clustering's, and the size and memory that its file takes.

The image has 4 megapixels with 1,500 objects. `ours` is the time from the stored result to the file's bytes,
`yardstick` that of the clustering kernel on the same fields, measured in turn. `peak` is the largest amount of memory
that Python and numpy held beside the result, counted in sizes of the label image (int32), of which reading the labels
takes one.
"""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from maskq import JobStatus, MaskObject, Result, State
from maskq.producer.formats.registry import FORMATS
from maskq.producer.formats.result_format import FormatOptions, ResultFormat
from maskq.producer.schema import JobSpec, Rle
from maskq.segmentation.clustering.cluster import Clustering, cluster, warm_up
from maskq.segmentation.clustering.fields import select
from maskq.segmentation.labels import encode
from maskq.segmentation.objects import describe

from .clustering import discs
from .harness import Case, alternate

_HEIGHT, _WIDTH, _OBJECTS = 2048, 2048, 1500


def run(quick: bool, images: Path | None) -> list[Case]:
    """Write the result in every format."""
    warm_up()
    foreground = select(*discs(_HEIGHT, _WIDTH, _OBJECTS))
    labels, scores = cluster(foreground, Clustering())
    objects = tuple(
        MaskObject(
            id=item.id,
            score=item.score,
            bbox=item.bbox,
            area=item.area,
            centroid=item.centroid,
            rle=Rle(size=item.size, counts=item.rle),
        )
        for item in describe(labels, scores)
    )
    times = {State.QUEUED: 0.0, State.DONE: 1.0}
    job = JobStatus(id="job", state=State.DONE, spec=JobSpec(name="cells.png"), lane="", times=times, attempts={})
    result = Result(job, (_HEIGHT, _WIDTH), "nuclei@1", objects, encode(labels))
    options = FormatOptions(image=_picture())
    clustering = partial(cluster, foreground, Clustering())
    return [_case(one, result, options, clustering, 3 if quick else 9) for one in FORMATS.values()]


def _case(
    one: ResultFormat, result: Result, options: FormatOptions, clustering: Callable[[], object], rounds: int
) -> Case:
    """Time the format and the clustering in turn, then measure the memory of another run."""

    def write() -> int:
        return sum(map(len, one.chunks(replace(result), options)))  # a copy: a result keeps its labels once read

    size = write()
    ours, yardstick = alternate(write, clustering, rounds)
    tracemalloc.start()
    write()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    label_bytes = 4 * _HEIGHT * _WIDTH
    more: dict[str, float] = {
        "over_clustering": round(ours / yardstick, 2),
        "bytes": size,
        "peak": round(peak / label_bytes, 2),
    }
    if one.name == "geojson":
        more["target"] = 0.333
    return Case.seconds(one.name, ours, yardstick, **more, objects=len(result.objects), streamable=one.streamable)


def _picture() -> bytes:
    """A grey PNG for the overlay."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (_HEIGHT, _WIDTH), np.uint8)).save(stream, "PNG")
    return stream.getvalue()
