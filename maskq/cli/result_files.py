"""What `maskq run` and `maskq result` say of the files that they write: lines of JSON, and `summary.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskq.producer.client.job import Result
from maskq.producer.client.paths import ImagePath
from maskq.producer.errors import JobUnfinished
from maskq.producer.formats.atomic_file import atomic_file


def json_entry(result: Result, paths: Mapping[str, Path]) -> dict[str, Any]:
    """The number of objects, and the paths of the files by format."""
    files = {name: str(path) for name, path in paths.items()}
    overlay = {"overlay": files["overlay"]} if "overlay" in files else {}
    return {"objects": result.count, "files": files} | overlay


def failure_kind(error: Exception) -> str:
    """The type of the error; if the job ended without a result, the type of the worker's error."""
    return error.error.type if isinstance(error, JobUnfinished) else type(error).__name__


@dataclass
class Summary:
    """What a command did: the contents of `summary.json`."""

    images: int = 0
    done: int = 0
    objects: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Images that ended, with a result or without, per second of the whole command."""
        return round((self.done + len(self.failures)) / self.seconds, 3) if self.seconds else 0.0

    def add_result(self, result: Result) -> None:
        """Count an image that has a result."""
        self.done += 1
        self.objects += result.count

    def add_failure(self, image: ImagePath, kind: str, message: str) -> None:
        """Record an image that has no result, and why."""
        self.failures.append({"image": str(image), "type": kind, "message": message})

    def as_dict(self) -> dict[str, Any]:
        """The contents of `summary.json`."""
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
        path = folder / "summary.json"
        with atomic_file(path) as part:
            part.write_text(json.dumps(self.as_dict(), indent=2) + "\n")
        return path
