"""Answers that say what was wrong: RFC 9457."""

import http
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from earmark.contracts.errors import OutboxError
from publishers.http.models import Complaint, Problem

MEDIA_TYPE = "application/problem+json"
RETRY_S = 5
_MOST_COMPLAINTS = 10
_LONGEST_VALUE = 60

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def problem_response(
    status: int, detail: str, errors: list[Complaint] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of ``status`` that says why."""
    title = http.HTTPStatus(status).phrase
    problem = Problem(type="about:blank", title=title, status=status, detail=detail, errors=errors or [])
    return Response(problem.model_dump_json(), status, dict(headers or {}), MEDIA_TYPE)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an operation says of these statuses in the OpenAPI document."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": http.HTTPStatus(status).phrase, "content": content} for status in statuses}


def answer_problems(app: FastAPI) -> None:
    """Make every error of ``app`` an answer of this kind."""
    handlers: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
        HTTPException: _of_http,
        RequestValidationError: _of_parameters,
        OutboxError: _of_outbox,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _of_http(request: Request, error: HTTPException) -> Response:
    detail = str(error.detail)
    if error.status_code == http.HTTPStatus.NOT_FOUND and detail == "Not Found":
        detail = f"expected a path of /openapi.json, got {shorten(request.url.path)}"
    if error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"expected GET, got {shorten(request.method)}"
    return problem_response(error.status_code, detail, headers=error.headers)


async def _of_parameters(request: Request, error: RequestValidationError) -> Response:
    del request
    complaints = [_complain(each) for each in error.errors()[:_MOST_COMPLAINTS]]
    detail = "; ".join(f"{each.where}: {each.expected}" for each in complaints)
    return problem_response(http.HTTPStatus.UNPROCESSABLE_ENTITY, detail, complaints)


def _complain(error: Mapping[str, Any]) -> Complaint:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return Complaint(where=where, expected="no parameter of this name; /openapi.json names those there are")
    expected = str(error["msg"])
    for begin in ("Input should be ", "String should ", "Value error, expected "):
        expected = expected.removeprefix(begin)
    return Complaint(where=where, expected=f"expected {expected}, got {shorten(error.get('input'))}")


async def _of_outbox(request: Request, error: OutboxError) -> Response:
    _log.warning("http cannot read the outbox", path=request.url.path, error=str(error))
    headers = {"Retry-After": str(RETRY_S)}
    return problem_response(
        http.HTTPStatus.SERVICE_UNAVAILABLE, "the outbox cannot be read now; try again", headers=headers
    )


def shorten(value: object) -> str:
    """A value from outside, to be quoted."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
