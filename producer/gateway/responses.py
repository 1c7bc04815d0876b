"""The JSON of successful responses, for the OpenAPI document. The routes write it themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..schema import Failure, JobSpec, Objects, PlaneCounts, Stage, State


class _Response(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Links(_Response):
    """The paths of a job, from the host on."""

    self_: str = Field(alias="self")
    result: str
    labels: str
    events: str


class Submitted(_Response):
    """A job that was queued."""

    job_id: str
    state: State
    links: Links


class JobRecord(JobSpec):
    """A job: its specification, and how far it is."""

    job_id: str
    state: State
    times: dict[State, float]
    """When the job entered each state, seconds since 1970."""
    timings: dict[str, float]
    """Seconds spent in each state, and in `total`."""
    attempts: dict[Stage, int]
    """Number of started attempts per stage."""
    planes: PlaneCounts | None
    error: Failure | None
    links: Links


class Cancelled(_Response):
    """A job after a request to cancel it."""

    job_id: str
    state: State
    detail: str
    """What was stopped, or why nothing was."""


class JobResult(Objects):
    """The objects of a job that is done. Members with their default value are left out."""

    job_id: str
    image: str
    """The image's name."""
    timings: dict[str, float]
    """Seconds spent in each state, and in `total`."""


class Health(_Response):
    """The answer of a health check."""

    status: str


def success(model: type[BaseModel], status: int = 200) -> dict[int | str, dict[str, Any]]:
    """A route's successful response for OpenAPI."""
    return {status: {"model": model, "description": (model.__doc__ or "").partition("\n")[0]}}
