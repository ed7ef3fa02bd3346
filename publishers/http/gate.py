"""What every request passes on its way in, and every answer on its way out."""

import asyncio
import http
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from fastapi import Response

from earmark.contracts.addresses import LOOPBACK_NAMES, is_loopback
from earmark.telemetry import metrics
from earmark.telemetry.refusals import Refusals
from publishers.http.auth import Keys
from publishers.http.config import HttpConfig, split_bind
from publishers.http.problems import problem_response, shorten

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = ("/healthz", "/readyz")
"""For probes, which carry no secrets and learn none."""
WRONG_S = 1.0
"""Who is wrong waits so long for being told: guessing takes time. Who says nothing is asked at once."""
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(:\d+)?")
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]


class Gate:
    """Refuses who may not look and what nobody needs to send; adds what browsers should know.

    Nothing here changes anything and no cookie is set, so another site can make a browser ask but not read.
    Without authentication that holds only while the ``Host`` is ours: else a name of that site's own that resolves to
    this machine would make it the same origin.

    Args:
        application: What answers.
        config: Where the server is bound, and under which names it is known.
        keys: Who may look.
    """

    def __init__(self, application: Application, config: HttpConfig, keys: Keys) -> None:
        self._application = application
        self._keys = keys
        self._refusals = Refusals()
        host, _ = split_bind(config.bind)
        self._names = {*LOOPBACK_NAMES, host, f"[{host}]", *config.hosts}
        self._checks_host = keys.is_open and is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or answer it."""
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])

        async def secured(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                metrics.HTTP_REQUESTS.labels(str(message["status"])).inc()
                message["headers"] = [*message.get("headers", []), *_SECURITY, *_caching(message)]
            await send(message)

        refusal = self._refuse(scope["path"], headers)
        if refusal is not None and refusal.status_code == http.HTTPStatus.UNAUTHORIZED and b"authorization" in headers:
            sender = scope["client"][0] if scope.get("client") else "a client"
            self._refusals.count("wrong_password", sender, "expected the token or the user's password, got another")
            await asyncio.sleep(WRONG_S)
        await (refusal or self._application)(scope, receive, secured)

    def _refuse(self, path: str, headers: dict[bytes, bytes]) -> Response | None:
        if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
            detail = "expected a request without a body, got one; leave it out"
            return problem_response(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers={"Connection": "close"})
        if path in OPEN_PATHS:
            return None
        if self._checks_host and not self._is_ours(host := headers.get(b"host", b"").decode("latin-1")):
            detail = (
                f"expected a host that this server is known by, got {shorten(host)}; name it in publishers.http.hosts"
            )
            return problem_response(http.HTTPStatus.MISDIRECTED_REQUEST, detail)
        if self._keys.is_open or self._keys.fit(headers.get(b"authorization", b"")):
            return None
        answer = problem_response(http.HTTPStatus.UNAUTHORIZED, "expected the token or the user's password; send one")
        for challenge in self._keys.challenges:
            answer.headers.append("WWW-Authenticate", challenge)
        return answer

    def _is_ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        return match is not None and match["name"].lower() in self._names


def _caching(message: MutableMapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Nothing is kept that does not say otherwise."""
    if any(name == b"cache-control" for name, _ in message.get("headers", [])):
        return []
    return [(b"cache-control", b"no-store")]
