"""The job schema: what a producer submits (`JobSpec`), observes (`JobStatus`) and receives (`Objects`)."""

from collections.abc import Callable
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from .printable import printable_name


def _explained(text: str) -> WrapValidator:
    """One error that says what a value may be, instead of one for each member of a union or of a pattern."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("option_value", "{text}", {"text": text}) from None

    return WrapValidator(validate)


def _number_as_text(value: Any) -> Any:
    """5 → `5`."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


#: A channel's number, from 1, or its name.
ChannelChoice = (
    Annotated[int, Field(strict=True, ge=1, le=10_000)] | Annotated[str, Field(min_length=1, max_length=100)]
)
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}(@[1-9][0-9]{0,8})?$")]


class State(StrEnum):
    """A job's state. `done` and the states after it are final; only a dead letter can leave its state, by `requeue`."""

    QUEUED = "queued"
    EMBEDDING = "embedding"
    EMBEDDED = "embedded"
    CLUSTERING = "clustering"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEAD = "dead"

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self in _ENDS


_ENDS = frozenset({State.DONE, State.FAILED, State.CANCELLED, State.EXPIRED, State.DEAD})


class Stage(StrEnum):
    """One of the two tasks of a job."""

    EMBED = "embed"
    CLUSTER = "cluster"

    @property
    def waiting(self) -> State:
        """The state in which a job waits for this stage."""
        return State.QUEUED if self is Stage.EMBED else State.EMBEDDED

    @property
    def working(self) -> State:
        """The state in which a worker runs this stage."""
        return State.EMBEDDING if self is Stage.EMBED else State.CLUSTERING

    @property
    def finished(self) -> State:
        """The state that this stage leads to."""
        return State.EMBEDDED if self is Stage.EMBED else State.DONE


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Options(_Frozen):
    """Job options. An option that is None is taken from the model."""

    seed_threshold: float | None = Field(default=None, ge=0.5, le=1)
    """Minimum seediness of a seed pixel: a higher threshold gives fewer, more certain objects."""
    min_pixels: int | None = Field(default=None, ge=0, le=1_000_000_000)
    """Objects of at most this many pixels are dropped."""
    tta: bool = False
    """Test-time augmentation: average the network's output over all eight turns and flips, at eight times the cost."""
    diameter: float | None = Field(default=None, gt=0, le=100_000)
    """Typical diameter of the objects, pixels: the image is resized so that it matches that of the training images."""
    channels: Annotated[
        ChannelChoice | Annotated[tuple[ChannelChoice, ...], Field(min_length=1, max_length=16)] | None,
        _explained("should be a channel's number from 1, its name, or a list of 1 to 16 of these"),
    ] = None
    """The channel or channels to segment, by number from 1 or by name. Required if they are neither grey nor RGB."""
    composite: Literal["mean", "max"] | None = None
    """How several channels, the chosen ones or else all, become one: the mean or maximum of each, normalised."""
    planes: Annotated[
        Annotated[str, Field(pattern=r"^(all|(max|mean)(:[0-9]+-[0-9]+)?|[0-9]+(-[0-9]+)?)$", max_length=32)] | None,
        BeforeValidator(_number_as_text),
        _explained("should be all, a number from 1, a range such as 3-10, or a projection: max, mean, max:3-10"),
    ] = None
    """The planes of a stack: `all`, a number or range from 1 (`3-10`), or a projection (`max`, `mean`, `max:3-10`)."""
    link: Literal["iou"] | None = None
    """Join the objects of consecutive planes whose intersection over union is at least `link_threshold`."""
    link_threshold: float = Field(default=0.25, gt=0, le=1)
    """Minimum intersection over union of two objects that `link` joins."""
    axes: Annotated[
        Annotated[str, Field(pattern=r"^[TZCYXS]{2,5}$")] | None,
        _explained("should be two to five of the letters T, Z, C, Y, X and S, such as CYX"),
    ] = None
    """The axes of a NumPy array, slowest first, such as `CYX`; the default is `YX` or `YXS`."""
    scene: int | None = Field(default=None, ge=1, le=1_000_000)
    """Which image of a file with several, from 1."""
    level: int | None = Field(default=None, ge=0, le=64)
    """The level of a pyramid: 0 is the full image."""
    resolution: float | None = Field(default=None, gt=0, le=10_000)
    """Micrometres per pixel at which to read a slide or pyramid; the next finer level is resized to it."""
    region: Annotated[
        Literal["tissue"] | tuple[int, int, int, int] | None,
        _explained("should be tissue, or four whole numbers: x, y, width, height"),
    ] = None
    """A part of a slide: x, y, width, height in pixels of the full image; or `tissue`, where tissue is found."""
    nan_as_background: bool = False
    """Take NaN and infinite pixels of a float image as background, instead of refusing the image."""


class Limits(_Frozen):
    """Limits of a job's cost."""

    max_pixels: int | None = Field(default=None, ge=1)
    """Reject an image with more pixels than this. The workers' own limit applies as well."""
    expires_s: float | None = Field(default=None, gt=0)
    """Deadline, seconds after submission: no stage of the job starts after it."""


class JobSpec(_Frozen):
    """What to do with a submitted image."""

    name: Annotated[str, AfterValidator(printable_name)] = Field(default="image", max_length=255)
    """The image's name in messages and in Flower, usually its file name. Control characters become escapes."""
    model: ModelName = "nuclei"
    """The model: `nuclei` for its newest version, or `nuclei@3`."""
    priority: int = Field(default=5, ge=0, le=9)
    """0 to 9; 9 is served first."""
    client: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    """The client, such as a user's name. Clients take turns, however many jobs each has queued."""
    options: Options = Options()
    limits: Limits = Limits()


class Failure(_Frozen):
    """Why a job ended without a result."""

    type: str
    """The error type, such as `TruncatedImage`."""
    message: str
    """What happened and what to do."""
    stage: Stage | None = None
    """The stage that failed; None if no stage had started."""


class Attempt(_Frozen):
    """A failed attempt at a stage, for a reason other than the image."""

    stage: Stage
    attempt: int
    """Its number, from 1."""
    worker: str
    """The worker's name and host."""
    error: str
    """What failed."""
    time: float
    """Time of the failure, seconds since 1970 by the broker's clock."""


class PlaneCounts(_Frozen):
    """How far a stack is: the numbers of its planes."""

    total: int
    done: int
    """Planes that have ended, with or without a result."""


class JobStatus(_Frozen):
    """The ledger's record of a job."""

    id: str
    state: State
    spec: JobSpec
    lane: str
    times: dict[State, float]
    """When the job entered each state, seconds since 1970 by the broker's clock: the first entry of waiting states, the
    last entry of working states."""
    attempts: dict[Stage, int]
    """Number of started attempts per stage."""
    error: Failure | None = None
    history: tuple[Attempt, ...] = ()
    """The failed attempts, oldest first."""
    suspect: bool = False
    """Whether a worker died while it ran this job: the job may be the cause."""
    planes: PlaneCounts | None = None
    """The progress of a stack whose planes are jobs of their own; None for other jobs."""
    parent: str | None = None
    """The id of the stack's job if this job is one of its planes."""

    @property
    def timings(self) -> dict[str, float]:
        """Seconds spent in each state (`queued`, `embedding`, `embedded`, `clustering`), and in `total`."""
        order = [s for s in State if s in self.times]
        spent = {
            str(state): round(self.times[following] - self.times[state], 6) for state, following in pairwise(order)
        }
        return spent | {"total": round(self.times[order[-1]] - self.times[order[0]], 6)}


class Rle(_Frozen):
    """COCO run-length encoding of an object's mask in the full image."""

    size: tuple[int, int]
    """Height and width, pixels."""
    counts: str
    """Compressed run lengths in column-major order, in the format of pycocotools."""


class MaskObject(_Frozen):
    """One object. The centre of the top left pixel is (0, 0)."""

    id: int
    """The object's value in the labels."""
    score: float
    """Seediness of the object's seed pixel, 0 to 1."""
    bbox: tuple[int, int, int, int]
    """x, y, width, height, pixels."""
    area: int
    """Pixels."""
    centroid: tuple[float, float]
    """x, y, pixels."""
    rle: Rle
    plane: int | None = None
    """The number of its plane in the stack, from 1; None if the image is no stack."""


class ImageInfo(_Frozen):
    """What is known of an image besides its pixels. Unknown members, which a newer worker may write, are ignored."""

    model_config = ConfigDict(extra="ignore")

    channels: tuple[str, ...] = ()
    """The channels that were segmented: number and name, such as `2 (DAPI)`, or `grey`, `RGB`."""
    pixel_size: tuple[float, float] | None = None
    """Height and width of a pixel, micrometres; None if unknown."""
    notes: tuple[str, ...] = ()
    """What was done to the file's values that a user may want to know, one sentence each."""


class Objects(ImageInfo):
    """The objects of an image: the cluster stage's result, next to the labels."""

    height: int
    width: int
    model: str
    """The model and its version, such as `nuclei@1`."""
    axes: str = "YX"
    """The axes of the labels: `YX`, or those of a stack, such as `ZYX`."""
    shape: tuple[int, ...] = ()
    """The lengths of the axes before `YX`; empty if the image is no stack."""
    planes: tuple[int, ...] = ()
    """The number of each plane in the submitted stack, from 1; empty if the image is no stack."""
    objects: tuple[MaskObject, ...]


def validation_message(error: ValidationError, name: Callable[[str], str] = str) -> str:
    """The validation error as one line: each field as `name` calls it, what is wrong with it, and its value."""
    return "; ".join(f"{name('.'.join(map(str, e['loc'])))}: {e['msg']} (given {e['input']!r})" for e in error.errors())
