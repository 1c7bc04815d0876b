"""Parameters of requests: query, form fields and headers. Unknown fields are rejected."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import from_json

from ..schema import JobSpec, Limits, Options
from .limits.multipart import MULTIPART
from .problems import invalid_job


def _parse_json(value: Any) -> Any:
    """Parse a text as JSON; raises `ValueError`, which pydantic reports as an error of the field."""
    return from_json(value) if isinstance(value, str) else value


def _json_text(model: type[Options | Limits]) -> WithJsonSchema:
    """The OpenAPI schema of a query parameter that holds the model as JSON."""
    properties = model.model_json_schema()["properties"].items()
    description = "; ".join(f"`{name}`: {schema['description']}" for name, schema in properties)
    return WithJsonSchema(
        {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": _reference(model),
            "description": description,
        }
    )


def _reference(model: type[Options | Limits]) -> dict[str, str]:
    """A reference to the model's schema, which is in the OpenAPI document since answers have it."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def request_body() -> dict[str, Any]:
    """The OpenAPI description of a submission's body. In a form, `options` and `limits` are objects."""
    image = {"type": "string", "format": "binary", "description": "The image file."}
    properties = JobSpec.model_json_schema()["properties"] | {
        "options": _reference(Options),
        "limits": _reference(Limits),
        "reuse": {"type": "boolean", "description": SubmitRequest.model_fields["reuse"].description},
        "file": image,
    }
    encoding = {name: {"contentType": "application/json"} for name in ("options", "limits")}
    form = {"schema": {"type": "object", "required": ["file"], "properties": properties}, "encoding": encoding}
    raw = {"schema": image}
    return {"required": True, "content": {MULTIPART: form, "image/*": raw, "application/octet-stream": raw}}


class SubmitRequest(JobSpec):
    """A job specification as query parameters or form fields; `options` and `limits` are JSON texts."""

    # Factories, since a default would be in the OpenAPI document as an object, which clients would send as one.
    options: Annotated[Options, BeforeValidator(_parse_json), _json_text(Options)] = Field(default_factory=Options)
    limits: Annotated[Limits, BeforeValidator(_parse_json), _json_text(Limits)] = Field(default_factory=Limits)
    reuse: bool | None = None
    """Whether the job may have a copy of the result of an equal job (image, model, options) of the same client; default
    MASKQ_REUSE."""

    def with_form(self, fields: dict[str, str], filename: str | None) -> SubmitRequest:
        """A copy with a form's fields, which override the query's; `filename` is the name if neither has one.

        Only the form's fields are validated. Raises `InvalidJob`.
        """
        if filename and "name" not in self.model_fields_set:
            fields = {"name": filename[:255]} | fields
        try:
            form = SubmitRequest.model_validate(fields)
        except ValidationError as error:
            raise invalid_job(error) from error
        return self.model_copy(update={name: getattr(form, name) for name in form.model_fields_set})

    def job_spec(self) -> JobSpec:
        """The job specification, without a second validation."""
        spec = {name: getattr(self, name) for name in JobSpec.model_fields}
        return JobSpec.model_construct(**spec | {"name": self.name or "image"})


class WaitQuery(BaseModel):
    """Query parameters of a request for a result."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    wait: float = Field(default=0, ge=0, le=60)
    """How long to wait for a job that is not done, seconds."""


#: Two requests of one client, or of one address without a client, with the same key mean the same job.
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[\x21-\x7e]{1,255}$")]
