"""Room for answers that do not end: so many in all, and so many to one address."""

import http
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import HTTPException, Request

from earmark.telemetry import metrics
from publishers.http.problems import RETRY_S


class Seats:
    """Counts who sits where.

    Args:
        most: At once.
        most_per_client: Of these, one address's.
    """

    def __init__(self, most: int, most_per_client: int) -> None:
        self._most = most
        self._most_per_client = most_per_client
        self._taken: Counter[str] = Counter()

    def check(self, request: Request) -> None:
        """Look whether there is room.

        Raises:
            HTTPException: 429 or 503.
        """
        headers = {"Retry-After": str(RETRY_S)}
        if self._taken[_client(request)] >= self._most_per_client:
            detail = f"expected at most {self._most_per_client} streams to one address; close one"
            raise HTTPException(http.HTTPStatus.TOO_MANY_REQUESTS, detail, headers)
        if self._taken.total() >= self._most:
            detail = f"all {self._most} streams are taken; try again later"
            raise HTTPException(http.HTTPStatus.SERVICE_UNAVAILABLE, detail, headers)

    @asynccontextmanager
    async def taken(self, request: Request, kind: str) -> AsyncGenerator[None]:
        """Sit down for the length of this context."""
        client = _client(request)
        self._taken[client] += 1
        metrics.HTTP_STREAMS.labels(kind).inc()
        try:
            yield
        finally:
            metrics.HTTP_STREAMS.labels(kind).dec()
            self._taken[client] -= 1
            self._taken += Counter()


def _client(request: Request) -> str:
    return request.client.host if request.client else ""
