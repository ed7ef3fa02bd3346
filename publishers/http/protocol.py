"""A connection that nobody can hold on to for nothing."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_S = 10.0
"""A request's head must be here by then, after the one before it too."""
DRAIN_S = 20.0
"""A peer that has not taken what was sent by then is cut off."""
MOST_HEADER_BYTES = 16_384


class PatientProtocol(H11Protocol):
    """uvicorn's, with deadlines that it lacks: for a request to arrive, and for an answer to be taken."""

    _head_timer: asyncio.TimerHandle | None = None
    _drain_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request; connections far beyond the limit are not even told so."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > 2 * self.limit_concurrency:
            transport.close()
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; they are a whole request, or the wait for it goes on."""
        super().data_received(data)
        self._await_head()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._await_head()

    def _await_head(self) -> None:
        if self._is_answering:
            self._head_timer = _cancelled(self._head_timer)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEADER_S, self._give_up)

    @property
    def _is_answering(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _give_up(self) -> None:
        self._head_timer = None
        if not self._is_answering:
            self.transport.close()  # once the peer has taken what was sent
            self._head_timer = self.loop.call_later(DRAIN_S, self.transport.abort)

    def pause_writing(self) -> None:
        """The peer does not read: begin to wait for it."""
        super().pause_writing()
        if self._drain_timer is None:
            self._drain_timer = self.loop.call_later(DRAIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        self._drain_timer = _cancelled(self._drain_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._head_timer, self._drain_timer = _cancelled(self._head_timer), _cancelled(self._drain_timer)


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
