"""Errors as problem details, RFC 9457: `application/problem+json` for every answer that is not the one asked for."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ..errors import BrokerUnavailable, InvalidJob, JobUnfinished, MaskqError, QueueFull, StoreFull
from .errors import GatewayBusy

log = logging.getLogger(__name__)

_MEDIA_TYPE = "application/problem+json"
#: When to come again where the error itself does not know, seconds.
_RETRY_AFTER_S: dict[type[MaskqError], float] = {StoreFull: 10.0, BrokerUnavailable: 5.0, GatewayBusy: 5.0}
#: Characters of a detail at most: a stranger's own words may be in it.
_MOST_SAID = 2000
#: What nginx logs of those who leave before their answer; no one reads it.
_CLIENT_LEFT = 499


def problem(
    status: int,
    detail: str,
    *,
    kind: str = "about:blank",
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """A problem's answer. `kind` is its type, a URI; `more` are members beside those of the RFC."""
    title = title or HTTPStatus(status).phrase
    said = {"type": kind, "title": title, "status": status, "detail": detail[:_MOST_SAID], **more}
    return Response(json.dumps(said), status, headers, _MEDIA_TYPE)


def of(error: MaskqError) -> Response:
    """The problem that an error of maskq's is: its class names the type, its docstring's first line is the title."""
    kind = type(error)
    detail, more = str(error), {}
    if isinstance(error, BrokerUnavailable):  # its message has the broker's address, which is no stranger's business
        log.warning("%s", error)
        detail = "the broker takes nothing now; try again later"
    if isinstance(error, JobUnfinished):
        more = {"job_id": error.job_id, "error": error.error.model_dump(mode="json")}
    return problem(error.status, detail, kind=type_of(kind), title=_title(kind), headers=_retry_after(error), **more)


def _title(kind: type[MaskqError]) -> str:
    return (kind.__doc__ or "").partition("\n")[0].rstrip(".")


def type_of(kind: type[MaskqError]) -> str:
    """The URI of an error's class, by which programs tell problems apart."""
    return f"urn:maskq:error:{kind.__name__}"


def documented(*kinds: type[MaskqError]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of a route's errors: by status, what each means."""
    said: dict[int | str, dict[str, Any]] = {}
    always: tuple[type[MaskqError], ...] = (InvalidJob, BrokerUnavailable)
    for kind in always + kinds:
        more = said.get(kind.status, {}).get("description", "")
        said[kind.status] = {"description": f"{more} {_title(kind)}.".strip(), "content": {_MEDIA_TYPE: {}}}
    return said


def invalid(error: ValidationError | RequestValidationError) -> InvalidJob:
    """What is wrong with the fields of a request, on one line."""
    return InvalidJob("; ".join(_each(error.errors())))


def _each(errors: Iterable[Any]) -> Iterable[str]:
    for error in errors:
        where = [str(part) for part in error["loc"] if part not in ("query", "body", "header", "path")]
        yield f"{'.'.join(where)}: {error['msg']}"


def _retry_after(error: MaskqError) -> dict[str, str]:
    seconds = error.retry_after_s if isinstance(error, QueueFull) else _RETRY_AFTER_S.get(type(error))
    return {} if seconds is None else {"Retry-After": str(max(1, math.ceil(seconds)))}


def install(app: FastAPI) -> None:
    """Answer every error of the app by a problem."""

    @app.exception_handler(MaskqError)
    async def ours(_: Request, error: MaskqError) -> Response:
        return of(error)

    @app.exception_handler(RequestValidationError)
    async def fields(_: Request, error: RequestValidationError) -> Response:
        return of(invalid(error))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=_CLIENT_LEFT)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:  # which the server logs, with its traceback
        return problem(500, "the gateway has failed; its log says why")
