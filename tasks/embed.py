"""The first stage: an image's bytes → packed foreground fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from maskq.producer.schema import JobStatus
from maskq.producer.state.store import Payload
from maskq.producer.state.transactions import Done
from maskq.segmentation import rescaling as scale
from maskq.segmentation.arrays import Pixels
from maskq.segmentation.images import ImageLimits, decode
from maskq.segmentation.models.spec import ModelSpec

from . import leases
from .field_payload import FieldPayload
from .trace import span


class FieldSource(Protocol):
    """A device that runs networks."""

    def fields(
        self, model: str, pixels: Pixels, *, tta: bool = False, diameter: float | None = None
    ) -> tuple[ModelSpec, bytes]:
        """What the model `NAME` or `NAME@VERSION` is now, and the packed fields of (H, W, C) pixels by that very one.

        Raises `UnknownModel`, `InvalidModel`, `InvalidDiameter`, `ImageTooLarge`, `InvalidFields`.
        """
        ...


class Embed:
    """Decode and check the image, and run the model."""

    reads = Payload.IMAGE

    def __init__(self, device: FieldSource, limits: ImageLimits) -> None:
        self._device, self._limits = device, limits

    def __call__(self, job: JobStatus, read: Callable[[], bytes]) -> Done:
        """The fields. Raises an `ImageError`, what `FieldSource.fields` does, and `PayloadMissing`."""
        with span("decode", job=job.id):
            pixels = decode(read(), job.spec.name, self._limits_of(job))
        leases.check()
        options = job.spec.options
        with span("fields", job=job.id, size=pixels.shape[:2]):
            spec, fields = self._device.fields(job.spec.model, pixels, tta=options.tta, diameter=options.diameter)
        clustering = scale.clustering(spec, options.seed_threshold, options.min_pixels, options.diameter)
        sealed = FieldPayload(model=spec.ref, clustering=clustering).seal(fields)
        height, width = pixels.shape[:2]
        return Done(f"{height}×{width}, {spec.ref}, fields of {len(fields):,} bytes", {Payload.FIELDS: sealed})

    def _limits_of(self, job: JobStatus) -> ImageLimits:
        asked = job.spec.limits.max_pixels
        return self._limits if asked is None else replace(self._limits, max_pixels=min(asked, self._limits.max_pixels))
