"""The first stage: an image's bytes → packed foreground fields, or a stack's planes as jobs of their own."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from math import prod
from typing import Protocol

from maskq.producer.schema import ImageInfo, JobStatus
from maskq.producer.state.ledger import StageResult
from maskq.producer.state.ledger.work import VIEWS
from maskq.producer.state.store import Payload
from maskq.segmentation.arrays import Pixels
from maskq.segmentation.images import Image, ImageLimits, Stack, read_image
from maskq.segmentation.images.channels import channels_for_model, choose_channels
from maskq.segmentation.images.planes import check_single_image, choose_planes
from maskq.segmentation.models.spec import ModelSpec
from maskq.segmentation.network.value_range import range_notes
from maskq.segmentation.rescaling import clustering_parameters, resized_shape, scale_factor

from . import field_payload, leases
from .field_payload import FieldHeader
from .image_options import view_of
from .stacks.splitting import StackLimits, split
from .trace import span


class FieldSource(Protocol):
    """A device that runs networks."""

    def spec(self, model: str) -> ModelSpec:
        """The spec of the model that is now `NAME` or `NAME@VERSION`. Raises `UnknownModel`, `InvalidModel`."""
        ...

    def fields(
        self, model: str, pixels: Pixels, *, tta: bool = False, diameter: float | None = None
    ) -> tuple[ModelSpec, bytes]:
        """Look a model up (`NAME` or `NAME@VERSION`) and run it: its spec, and the packed fields of (H, W, C) pixels.

        Raises `UnknownModel`, `InvalidModel`, `InvalidDiameter`, `ImageTooLarge`, `InvalidFields`.
        """
        ...


class Embed:
    """The work of the first stage: decode and check the image, and run the model; or split a stack."""

    reads = Payload.IMAGE

    def __init__(self, device: FieldSource, limits: ImageLimits, max_planes: int = 1000) -> None:
        self._device, self._limits = device, limits
        self._stack_limits = StackLimits.of(max_planes, limits.max_bytes)

    def digest(self, job: JobStatus) -> str:
        """Identifies the model that the job would run now. Raises the errors of `FieldSource.spec`."""
        return _digest(self._device.spec(job.spec.model))

    def __call__(self, job: JobStatus, read: Callable[[], bytes]) -> StageResult:
        """The fields, or the planes. Raises an `ImageError`, the errors of `FieldSource.fields`, `PayloadMissing`."""
        planes, name = job.spec.options.planes, job.spec.name
        with span("decode", job=job.id):
            found = read_image(read(), name, self._limits_of(job), view_of(job.spec.options))
            if isinstance(found, Stack):
                chosen = choose_planes(_interruptible(found), planes, name)
                if isinstance(chosen, list):
                    spec = self._device.spec(job.spec.model)
                    return replace(split(job, found, chosen, spec, self._stack_limits), digest=_digest(spec))
                found = chosen
            else:
                check_single_image(planes, name, found)
        return self._fields(job, found)

    def _fields(self, job: JobStatus, image: Image) -> StageResult:
        """The fields of one image."""
        options, name = job.spec.options, job.spec.name
        image, labels = choose_channels(image, options.channels, name, options.composite)
        pixels = image.pixels
        leases.check()
        spec = self._device.spec(job.spec.model)
        channels = channels_for_model(image, labels, spec.channels, name)
        size = resized_shape(pixels.shape[:2], scale_factor(spec, options.diameter), self._limits.max_pixels)
        leases.weigh(prod(size) * (VIEWS if options.tta else 1))
        notes = image.notes if options.composite else image.notes + range_notes(pixels, spec.normalisation, name)
        with span("fields", job=job.id, size=pixels.shape[:2]):
            spec, fields = self._device.fields(spec.ref, pixels, tta=options.tta, diameter=options.diameter)
        clustering = clustering_parameters(spec, options.seed_threshold, options.min_pixels, options.diameter)
        info = ImageInfo(channels=channels, pixel_size=image.pixel_size, notes=notes)
        payload = field_payload.encode(FieldHeader(model=spec.ref, clustering=clustering, image=info), fields)
        height, width = pixels.shape[:2]
        summary = f"{height}×{width}, {spec.ref}, fields of {len(fields):,} bytes"
        return StageResult(summary, {Payload.FIELDS: payload}, digest=_digest(spec))

    def _limits_of(self, job: JobStatus) -> ImageLimits:
        """The worker's limits, and the job's own if that is lower."""
        limit = job.spec.limits.max_pixels
        return self._limits if limit is None else replace(self._limits, max_pixels=min(limit, self._limits.max_pixels))


@lru_cache(maxsize=64)
def _digest(spec: ModelSpec) -> str:
    """A digest of the model (its version, the weights' sha256, every parameter) and of the version of this software."""
    return hashlib.sha256(f"{version('maskq')}\n{spec.model_dump_json()}".encode()).hexdigest()


def _interruptible(stack: Stack) -> Stack:
    """The stack. Reading a plane ends with `LeaseLost` if the job is cancelled: a projection reads many."""

    def read(index: int) -> Image:
        leases.check()
        return stack.read(index)

    return replace(stack, read=read)
