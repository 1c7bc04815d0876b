"""Objects: one JSON document with the image's size, the model, the timings and every object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .result_format import FormatOptions, ResultFormat

if TYPE_CHECKING:
    from ..client.job import Result


def chunks(result: Result, options: FormatOptions) -> Iterator[bytes]:
    """The document of `describe`."""
    yield json.dumps(describe(result)).encode()


def describe(result: Result) -> dict[str, Any]:
    """The image's name and size (pixels), the job, the model, seconds per stage, what is known of the image, and the
    objects; of a stack also its axes and planes.
    """
    height, width = result.size
    stack = {"axes": result.axes, "shape": result.shape, "planes": result.planes} if result.planes else {}
    return {
        "image": result.job.spec.name,
        "job_id": result.job.id,
        "height": height,
        "width": width,
        "model": result.model,
        "timings": result.job.timings,
        "channels": result.channels,
        "pixel_size": result.pixel_size,
        "notes": result.notes,
        **stack,
        "objects": [item.model_dump(mode="json", exclude_none=True) for item in result.objects],
    }


FORMAT = ResultFormat("objects", "JSON of maskq", {".json": "application/json"}, chunks)
