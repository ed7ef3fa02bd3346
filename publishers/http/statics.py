"""The page's files, read once."""

import hashlib
from functools import cache
from importlib import resources

from fastapi import APIRouter, Request, Response

_TYPES = {".js": "text/javascript", ".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml"}
_CACHE = "no-cache"
"""A browser asks each time whether its copy is the newest, so a new release never meets an old script."""


def page_router() -> APIRouter:
    """Serves ``/`` and each file under its name; these are not part of the API."""
    router = APIRouter(include_in_schema=False)
    for name in _files():
        router.add_api_route("/" if name == "index.html" else f"/{name}", _answering(name), methods=["GET", "HEAD"])
    return router


def _answering(name: str):  # noqa: ANN202 -- a route's function
    async def answer(request: Request) -> Response:
        body, tag, media_type = _files()[name]
        headers = {"ETag": tag, "Cache-Control": _CACHE}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=media_type)

    return answer


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Content, tag and type by name."""
    found: dict[str, tuple[bytes, str, str]] = {}
    for file in resources.files("publishers.http").joinpath("pages").iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if suffix in _TYPES:
            body = file.read_bytes()
            found[file.name] = (body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', _TYPES[suffix])
    return found
