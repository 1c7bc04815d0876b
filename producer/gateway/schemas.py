"""What a request may ask for in its query, or a form's fields; a field that is unknown is refused."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Header, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import from_json

from ..errors import InvalidJob, UnknownJob
from ..schema import JobSpec, Limits, Options
from .problems import invalid

_JOB_ID = re.compile(r"[0-9a-f]{32}")


def _of_text(value: Any) -> Any:
    """JSON, where it is a text: it may be a stranger's."""
    return from_json(value) if isinstance(value, str) else value


def _as_json(kind: type[Options | Limits]) -> WithJsonSchema:
    """What OpenAPI says of a field that is JSON in a text."""
    fields = kind.model_json_schema()["properties"].items()
    said = "; ".join(f"`{name}`: {field['description']}" for name, field in fields)
    return WithJsonSchema({"type": "string", "contentMediaType": "application/json", "description": said})


class SubmitRequest(JobSpec):
    """A job, as a query or a form asks for it: `options` and `limits` are JSON there."""

    options: Annotated[Options, BeforeValidator(_of_text), _as_json(Options)] = Options()
    limits: Annotated[Limits, BeforeValidator(_of_text), _as_json(Limits)] = Limits()
    reuse: bool | None = None
    """Whether a job that another one like it computes or has computed takes that one's result; default MASKQ_REUSE."""

    def also(self, fields: dict[str, str], name: str | None) -> SubmitRequest:
        """With a form's fields, which go before the query's, and the file's name where there is no other. Raises
        `InvalidJob`.
        """
        asked = self.model_dump(exclude_unset=True)
        try:
            return SubmitRequest.model_validate(({"name": name[:255]} if name else {}) | asked | fields)
        except ValidationError as error:
            raise invalid(error) from error


class WaitQuery(BaseModel):
    """How long a result is waited for."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    wait: float = Field(default=0, ge=0, le=60)
    """Wait so many seconds for a job that is not done."""


#: The request's name for its job: the same one again, by the same client, means the same job.
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[\x21-\x7e]{1,255}$")]


def nothing(request: Request) -> None:
    """A dependency of routes that take no query. Raises `InvalidJob` where there is one."""
    if request.query_params:
        raise InvalidJob(f"{', '.join(request.query_params)[:200]}: not asked for here")


def known_shape(job_id: str) -> str:
    """A dependency: the path's job id, if it looks like one. Raises `UnknownJob`."""
    if not _JOB_ID.fullmatch(job_id):
        raise UnknownJob("there is no such job: an id has 32 digits, 0 to 9 and a to f")
    return job_id
