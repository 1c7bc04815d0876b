"""What a finished job leaves in a folder: the labels, the objects, and a picture for people."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from maskq.producer.client.job import Result
from maskq.producer.errors import JobUnfinished
from maskq.segmentation.atomic_write import atomic_write
from maskq.segmentation.images import ImageLimits, decode
from maskq.segmentation.labels import suffix
from maskq.segmentation.overlay import draw

#: The worker that took the image had the limits.
_ANY_SIZE = ImageLimits(max_bytes=sys.maxsize, max_pixels=sys.maxsize)


def write_result(result: Result, image: bytes, folder: Path, name: str) -> Path:
    """Write `name.labels.png` (or `.tif`), `name.json` and `name.overlay.png`; returns the overlay's path."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{name}.labels{suffix(result.label_file)}", result.label_file)
    _write(folder / f"{name}.json", json.dumps(describe(result)).encode())
    picture = io.BytesIO()
    Image.fromarray(draw(decode(image, name, _ANY_SIZE), result.labels)).save(picture, "PNG", compress_level=1)
    overlay = folder / f"{name}.overlay.png"
    _write(overlay, picture.getvalue())
    return overlay


def describe(result: Result) -> dict[str, Any]:
    """The contents of `name.json`: image size, model, timings per stage (seconds), and every object."""
    height, width = result.size
    return {
        "image": result.job.spec.name,
        "job_id": result.job.id,
        "height": height,
        "width": width,
        "model": result.model,
        "timings": result.job.timings,
        "objects": [found.model_dump(mode="json") for found in result.objects],
    }


def failure_kind(error: Exception) -> str:
    """The name of what went wrong: the type of the worker's error where the job ended without a result."""
    return error.error.type if isinstance(error, JobUnfinished) else type(error).__name__


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path) as part:
        part.write_bytes(data)


@dataclass
class Summary:
    """What a run did: the contents of `summary.json`."""

    images: int = 0
    done: int = 0
    objects: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Finished images over all of the run's time."""
        return round((self.done + len(self.failures)) / self.seconds, 3) if self.seconds else 0.0

    def add_failure(self, image: Path, kind: str, message: str) -> None:
        """Note an image that gave no masks, and why."""
        self.failures.append({"image": str(image), "type": kind, "message": message})

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "images": self.images,
            "done": self.done,
            "objects": self.objects,
            "failed": len(self.failures),
            "failures": self.failures,
            "seconds": round(self.seconds, 3),
            "images_per_second": self.images_per_second,
        }

    def write(self, folder: Path) -> Path:
        """Write `summary.json`; returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "summary.json"
        _write(path, (json.dumps(self.as_dict(), indent=2) + "\n").encode())
        return path
