"""The application: all routes, and the document that describes them."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from earmark.contracts.errors import OutboxError
from earmark.outbox import OutboxReader
from earmark.telemetry.metrics import REGISTRY
from publishers.http import api, clips, streaming
from publishers.http.gate import OPEN_PATHS
from publishers.http.models import Complaint, Health, Problem
from publishers.http.parameters import Nothing
from publishers.http.parts import parts_of
from publishers.http.problems import answer_problems, problem_responses
from publishers.http.statics import page_router

VERSION = "1.0.0"
"""Of the API, not of Earmark."""
_SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "publishers.http.token"},
    "password": {"type": "http", "scheme": "basic", "description": "publishers.http.user and password, or the token"},
}

_service = APIRouter(tags=["service"], responses=problem_responses(413, 422))
_METRICS = {200: {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}}


@_service.get("/metrics", response_class=Response, responses={**_METRICS})
async def metrics(asked: Nothing) -> Response:
    """Metrics of the publishers' process."""
    del asked
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


@_service.get("/healthz")
async def healthz(asked: Nothing) -> Health:
    """Whether the server turns: always, if it answers at all."""
    del asked
    return Health(healthy=True, ready=True)


@_service.get("/readyz", responses={503: {"model": Health}})
async def readyz(request: Request, response: Response, asked: Nothing) -> Health:
    """Whether the outbox can be read."""
    del asked
    try:
        await parts_of(request).reading.ask(OutboxReader.newest_seq)
    except OutboxError:
        response.status_code = 503
        return Health(healthy=True, ready=False)
    return Health(healthy=True, ready=True)


def make_application(*, has_auth: bool) -> FastAPI:
    """All routes; the server puts its parts into ``state.parts`` before the first request.

    Args:
        has_auth: Whether the document says that a token or a password is wanted.
    """
    app = FastAPI(title="Earmark", version=VERSION, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    # What does not end comes first: /events/stream would fit /events/{event_id} too.
    for router in (streaming.router, api.router, clips.router, _service, page_router()):
        app.include_router(router)
    answer_problems(app)
    document = _document(app, has_auth=has_auth)
    app.openapi = lambda: document
    return app


def openapi_document() -> dict[str, Any]:
    """What a server without authentication says at ``/openapi.json``."""
    return make_application(has_auth=False).openapi()


def _document(app: FastAPI, *, has_auth: bool) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description="When each sound began and ended, and what streams sound like now. Nothing here changes anything.",
        routes=app.routes,
    )
    schemas = document["components"]["schemas"]
    for model in (Complaint, Problem):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    if has_auth:
        document["components"]["securitySchemes"] = _SECURITY
        document["security"] = [{"token": []}, {"password": []}]
        for path, operations in document["paths"].items():
            is_open = path in OPEN_PATHS
            for operation in operations.values():
                operation.update({"security": []} if is_open else {})
                operation["responses"].update({} if is_open else {"401": problem_responses(401)[401]})
    return document
