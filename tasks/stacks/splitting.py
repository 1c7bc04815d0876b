"""Splits a stack: every chosen plane becomes a job with an image of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maskq.producer.schema import JobSpec, JobStatus, Options
from maskq.producer.state.ledger import Plane, StageResult
from maskq.producer.state.store import Payload
from maskq.segmentation.errors import ImageError, PlanesFailed
from maskq.segmentation.images import Image, Stack
from maskq.segmentation.images.channels import channels_for_model, choose_channels
from maskq.segmentation.images.plane_file import encode_plane
from maskq.segmentation.images.planes import check_amount, check_bytes, chosen_axes, position
from maskq.segmentation.models.spec import ModelSpec

from .. import leases
from ..trace import span
from .manifest import Manifest

#: What the planes of a stack may have together, decoded, in sizes of the largest file.
_FILES = 16
#: The options that say how to read the submitted file: a plane's own file has nothing left to choose.
_OF_THE_FILE = ("planes", "link", "link_threshold", "axes", "scene", "level", "resolution", "region")
_MAX_NAME = 255


@dataclass(frozen=True)
class StackLimits:
    """The largest stack that is split."""

    max_planes: int
    #: Bytes of all planes together, decoded.
    max_bytes: int

    @classmethod
    def of(cls, max_planes: int, max_file_bytes: int) -> "StackLimits":
        """The limits that follow from those of one file."""
        return cls(max_planes, _FILES * max_file_bytes)


def split(job: JobStatus, stack: Stack, numbers: Sequence[int], model: ModelSpec, limits: StackLimits) -> StageResult:
    """The planes with these numbers as jobs. They are read one by one while the ledger stores them.

    All use this version of the model. Raises `ImageTooLarge`; so does reading the planes, and `PlanesFailed`,
    `AmbiguousChannels` and `NoSuchChannel`.
    """
    check_amount(stack, numbers, limits.max_planes, limits.max_bytes, job.spec.name)
    axes, shape = chosen_axes(stack, numbers)
    manifest = Manifest(axes=axes, shape=shape, size=stack.size, planes=tuple(numbers), row=stack.shape[-1])
    return StageResult(
        f"{len(numbers)} planes ({axes}) of {stack.size[0]}×{stack.size[1]}, {model.ref}",
        {Payload.FIELDS: manifest.encode()},
        planes=_planes(job, stack, numbers, model, limits.max_bytes),
    )


def _planes(job: JobStatus, stack: Stack, numbers: Sequence[int], model: ModelSpec, max_bytes: int) -> Iterator[Plane]:
    options = Options(**job.spec.options.model_dump(exclude={*_OF_THE_FILE}))
    spec = job.spec.model_copy(update={"options": options, "model": model.ref})
    total = 0
    for number in numbers:
        leases.check()
        where = position(stack, number)
        with span("plane", job=job.id, number=number):
            image = _read(stack, number, f"{job.spec.name}, plane {number} ({where})")
            if number == numbers[0]:  # what is wrong with the channels is wrong with all planes
                _check_channels(image, options, model, job.spec.name)
            total += image.pixels.nbytes
            check_bytes(total, max_bytes, job.spec.name)
            height, width = image.pixels.shape[:2]
            yield Plane(number, _named(spec, where), f"{height}x{width}", encode_plane(image))


def _read(stack: Stack, number: int, plane: str) -> Image:
    try:
        image = stack.read(number - 1)
    except ImageError as error:
        raise PlanesFailed(f"{plane}: {type(error).__name__}: {error}") from error
    if image.pixels.shape[:2] != stack.size:
        height, width = image.pixels.shape[:2]
        raise PlanesFailed(f"{plane}: {height}×{width} pixels, others have {stack.size[0]}×{stack.size[1]}")
    return image


def _check_channels(image: Image, options: Options, model: ModelSpec, name: str) -> None:
    chosen, labels = choose_channels(image, options.channels, name, options.composite)
    channels_for_model(chosen, labels, model.channels, name)


def _named(spec: JobSpec, where: str) -> JobSpec:
    """The specification of a plane's job, such as `cells.tif [Z=3]`."""
    suffix = f" [{where}]"
    return spec.model_copy(update={"name": spec.name[: _MAX_NAME - len(suffix)] + suffix})
