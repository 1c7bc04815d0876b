"""The first stage: an image's bytes → packed foreground fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from producer.contract import JobStatus
from producer.store import Payload, PayloadStore
from segmentation import scale
from segmentation.catalogue.model import ModelSpec
from segmentation.images import ImageLimits, Pixels, decode

from . import leases
from .handover import Handover
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
    """Fetch, decode and check the image, run the model, store the fields."""

    def __init__(self, store: PayloadStore, device: FieldSource, limits: ImageLimits) -> None:
        self._store, self._device, self._limits = store, device, limits

    def __call__(self, job: JobStatus) -> str:
        with span("fetch", job=job.id):
            data = self._store.get(job.id, Payload.IMAGE)
        with span("decode", job=job.id, bytes=len(data)):
            pixels = decode(data, job.spec.name, self._limits_of(job))
        leases.check()
        options = job.spec.options
        with span("fields", job=job.id, size=pixels.shape[:2]):
            spec, fields = self._device.fields(job.spec.model, pixels, tta=options.tta, diameter=options.diameter)
        clustering = scale.clustering(spec, options.seed_threshold, options.min_pixels, options.diameter)
        with span("store", job=job.id, bytes=len(fields)):
            self._store.put(job.id, Payload.FIELDS, Handover(model=spec.label, clustering=clustering).seal(fields))
        height, width = pixels.shape[:2]
        return f"{height}×{width}, {spec.label}, fields of {len(fields):,} bytes"

    def finished(self, job: JobStatus) -> None:
        """Keep the image: overlays are drawn on it."""

    def discarded(self, job: JobStatus) -> None:
        """Drop the fields."""
        self._store.drop(job.id, Payload.FIELDS)

    def _limits_of(self, job: JobStatus) -> ImageLimits:
        asked = job.spec.limits.max_pixels
        return self._limits if asked is None else replace(self._limits, max_pixels=min(asked, self._limits.max_pixels))
