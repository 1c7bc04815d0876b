"""The job contract: what a producer may ask for, what it is told, and what it gets."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}(@[1-9][0-9]{0,8})?$")]


class State(StrEnum):
    """Where a job is. `done` and what follows it are ends: a job leaves them no more."""

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
        """Whether the job is over."""
        return self in _ENDS


_ENDS = frozenset({State.DONE, State.FAILED, State.CANCELLED, State.EXPIRED, State.DEAD})


class Stage(StrEnum):
    """The two tasks of a job, by the states that they wait in, work in and lead to."""

    EMBED = "embed"
    CLUSTER = "cluster"

    @property
    def waiting(self) -> State:
        """The state in which a job waits for this stage."""
        return State.QUEUED if self is Stage.EMBED else State.EMBEDDED

    @property
    def working(self) -> State:
        """The state in which a worker has it."""
        return State.EMBEDDING if self is Stage.EMBED else State.CLUSTERING

    @property
    def finished(self) -> State:
        """The state after it."""
        return State.EMBEDDED if self is Stage.EMBED else State.DONE


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Options(_Frozen):
    """What a job may set otherwise than its model does."""

    seed_threshold: float | None = Field(default=None, ge=0.5, le=1)
    """Seediness below which no pixel becomes a seed: higher gives fewer, surer objects."""
    min_pixels: int | None = Field(default=None, ge=0, le=1_000_000_000)
    """Objects have more pixels than this."""
    tta: bool = False
    """Test-time augmentation: the network sees the image in all eight turns and flips, for eight times the work."""
    diameter: float | None = Field(default=None, gt=0, le=100_000)
    """The objects' usual diameter, pixels: the image is resized so that they have that of the model's training."""


class Limits(_Frozen):
    """What a job may cost."""

    max_pixels: int | None = Field(default=None, ge=1)
    """Refuse an image of more pixels than this; the workers' own limit holds all the same."""
    expires_s: float | None = Field(default=None, gt=0)
    """Seconds from submission after which the job is worth nothing and no stage of it is begun."""


class JobSpec(_Frozen):
    """One job: an image, named for people, and what to do with it."""

    name: str = Field(default="image", max_length=255)
    """What messages and Flower call the image; a file's name, most often."""
    model: ModelName = "nuclei"
    """Which model segments it: `nuclei`, its newest version, or `nuclei@3`."""
    priority: int = Field(default=5, ge=0, le=9)
    """9 goes first."""
    client: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    """Who asks, such as a user's name: clients take turns, however many jobs each has queued."""
    options: Options = Options()
    limits: Limits = Limits()


class Failure(_Frozen):
    """Why a job ended without a result."""

    type: str
    """The error's name, such as `TruncatedImage`."""
    message: str
    """What happened, and what to do."""
    stage: Stage | None = None
    """The stage it happened in; None where no stage had begun."""


class Attempt(_Frozen):
    """An attempt at a stage that failed, and not by the image's fault."""

    stage: Stage
    attempt: int
    """The how manieth it was."""
    worker: str
    """The worker's name and host."""
    error: str
    """What went wrong."""
    time: float
    """When, seconds since 1970 by the broker's clock."""


class JobStatus(_Frozen):
    """What the ledger knows of a job."""

    id: str
    state: State
    spec: JobSpec
    lane: str
    times: dict[State, float]
    """When each state was entered, seconds since 1970 by the broker's clock: for the first time where it waits, for the
    last where it is worked on."""
    attempts: dict[Stage, int]
    """How often each stage was begun."""
    error: Failure | None = None
    history: tuple[Attempt, ...] = ()
    """The attempts that failed, the oldest first."""
    suspect: bool = False
    """Whether a worker has died with it in hand: it may be what killed it."""

    @property
    def timings(self) -> dict[str, float]:
        """Seconds spent waiting and working: `queued`, `embedding`, `embedded`, `clustering`, `total`."""
        order = [s for s in State if s in self.times]
        spent = {
            str(state): round(self.times[following] - self.times[state], 6) for state, following in pairwise(order)
        }
        return spent | {"total": round(self.times[order[-1]] - self.times[order[0]], 6)}


class Rle(_Frozen):
    """COCO run-length encoding of one object over the full frame."""

    size: tuple[int, int]
    """Height and width."""
    counts: str
    """Compressed counts, column-major, as pycocotools reads them."""


class MaskObject(_Frozen):
    """One object. Pixel (0, 0) is the top left; a pixel's centre has whole coordinates."""

    id: int
    """Its value in the labels."""
    score: float
    """Its seed's seediness."""
    bbox: tuple[int, int, int, int]
    """x, y, width, height, pixels."""
    area: int
    """Pixels."""
    centroid: tuple[float, float]
    """x, y, pixels."""
    rle: Rle


class Objects(_Frozen):
    """What the cluster stage stores beside the labels."""

    height: int
    width: int
    model: str
    """The model and its version, `nuclei@1`."""
    objects: tuple[MaskObject, ...]


def readable(error: ValidationError) -> str:
    """A validation error on one line."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']} (given {e['input']!r})" for e in error.errors())
