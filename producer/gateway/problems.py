"""Error responses: each is a problem details document, `application/problem+json` (RFC 9457)."""

import json
import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from ..errors import BrokerUnavailable, InvalidJob, JobUnfinished, MaskqError, QueueFull, StoreFull, StoreUnavailable
from .errors import GatewayBusy
from .head import allows_head

log = logging.getLogger(__name__)

_MEDIA_TYPE = "application/problem+json"
#: `Retry-After` of errors that carry no value themselves, seconds.
_RETRY_AFTER_S: dict[type[MaskqError], float] = {
    StoreFull: 10.0,
    StoreUnavailable: 5.0,
    BrokerUnavailable: 5.0,
    GatewayBusy: 5.0,
}
#: Maximum length of a detail, characters: it may quote the request.
_MAX_DETAIL = 2000
#: The status that nginx logs if a client disconnects before its response; nobody receives it.
_CLIENT_CLOSED_REQUEST = 499


def problem_response(
    status: int,
    detail: str,
    *,
    type_uri: str = "about:blank",
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
    **extensions: Any,
) -> Response:
    """A problem details response. `extensions` are members that the RFC does not define."""
    title = title or HTTPStatus(status).phrase
    members = {"type": type_uri, "title": title, "status": status, "detail": detail[:_MAX_DETAIL], **extensions}
    return Response(json.dumps(members), status, headers, _MEDIA_TYPE)


def error_response(error: MaskqError) -> Response:
    """The problem details response of an error: its class gives the type, the class's docstring the title."""
    kind = type(error)
    detail, extensions = str(error), {}
    if isinstance(error, BrokerUnavailable | StoreUnavailable):  # clients must not see its address in the message
        log.warning("%s", error)
        detail = f"the {'broker' if isinstance(error, BrokerUnavailable) else 'store'} is unavailable; try again later"
    if isinstance(error, JobUnfinished):
        extensions = {"job_id": error.job_id, "error": error.error.model_dump(mode="json")}
    return problem_response(
        error.status, detail, type_uri=type_uri(kind), title=_title(kind), headers=_retry_after(error), **extensions
    )


def _title(kind: type[MaskqError]) -> str:
    return (kind.__doc__ or "").partition("\n")[0].rstrip(".")


def type_uri(kind: type[MaskqError]) -> str:
    """The URI that identifies an error class in a problem's `type`."""
    return f"urn:maskq:error:{kind.__name__}"


def openapi_responses(*kinds: type[MaskqError]) -> dict[int | str, dict[str, Any]]:
    """A route's error responses for OpenAPI: per status, the titles of its errors.

    `InvalidJob`, `BrokerUnavailable` and `StoreUnavailable` are always included.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    common: tuple[type[MaskqError], ...] = (InvalidJob, BrokerUnavailable, StoreUnavailable)
    for kind in common + kinds:
        titles = responses.get(kind.status, {}).get("description", "")
        responses[kind.status] = {"description": f"{titles} {_title(kind)}.".strip(), "content": {_MEDIA_TYPE: {}}}
    return responses


def invalid_job(error: ValidationError | RequestValidationError) -> InvalidJob:
    """An `InvalidJob` whose message lists the invalid fields of a request on one line."""
    problems = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"] if part not in ("query", "body", "header", "path"))
        problems.append(f"{field}: {item['msg']}")
    return InvalidJob("; ".join(problems))


def _retry_after(error: MaskqError) -> dict[str, str]:
    seconds = error.retry_after_s if isinstance(error, QueueFull) else _RETRY_AFTER_S.get(type(error))
    return {} if seconds is None else {"Retry-After": str(max(1, math.ceil(seconds)))}


def _allowed(request: Request) -> str:
    """The methods of a path, for `Allow`: Starlette names those of one route only."""
    routes = request.app.router.routes
    methods = [
        method
        for method in ("GET", "POST", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    if "GET" in methods and allows_head(request.url.path):
        methods.insert(1, "HEAD")
    return ", ".join(methods)


def add_exception_handlers(app: FastAPI) -> None:
    """Make the app answer every exception with a problem details response."""

    @app.exception_handler(MaskqError)
    async def maskq_error(_: Request, error: MaskqError) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid_request(_: Request, error: RequestValidationError) -> Response:
        return error_response(invalid_job(error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        headers = {"Allow": _allowed(request)} if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else error.headers
        return problem_response(error.status_code, str(error.detail), headers=headers)

    @app.exception_handler(ClientDisconnect)
    async def client_disconnected(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    @app.exception_handler(Exception)
    async def unexpected_error(_: Request, error: Exception) -> Response:  # uvicorn logs the traceback
        return problem_response(500, "internal error; see the gateway's log")
