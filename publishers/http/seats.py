"""Room for answers that do not end: so many in all, and so many to one address."""

import http
from collections import Counter
from collections.abc import Callable
from functools import partial

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

    def take(self, request: Request, kind: str) -> Callable[[], None]:
        """Take a seat now, before anything is awaited: requests that come together must not all find it free.

        Returns:
            What gives the seat back; called once.

        Raises:
            HTTPException: 429 or 503; no seat is taken.
        """
        headers, client = {"Retry-After": str(RETRY_S)}, _client(request)
        if self._taken[client] >= self._most_per_client:
            detail = f"expected at most {self._most_per_client} streams to one address; close one"
            raise HTTPException(http.HTTPStatus.TOO_MANY_REQUESTS, detail, headers)
        if self._taken.total() >= self._most:
            detail = f"all {self._most} streams are taken; try again later"
            raise HTTPException(http.HTTPStatus.SERVICE_UNAVAILABLE, detail, headers)
        self._taken[client] += 1
        metrics.HTTP_STREAMS.labels(kind).inc()
        return partial(self._give_back, client, kind)

    def _give_back(self, client: str, kind: str) -> None:
        metrics.HTTP_STREAMS.labels(kind).dec()
        self._taken[client] -= 1
        self._taken += Counter()


def _client(request: Request) -> str:
    return request.client.host if request.client else ""
