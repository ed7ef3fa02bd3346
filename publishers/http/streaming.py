"""Answers that do not end: events as they happen, and pictures."""

from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from publishers.http.parameters import FollowAsked, LastEventId, LiveAsked
from publishers.http.parts import parts_of
from publishers.http.problems import problem_responses
from publishers.http.sse import follow

router = APIRouter(prefix="/api/v1", responses=problem_responses(413, 422, 429, 503))
_EVENTS, _LIVE = "text/event-stream", "application/octet-stream"


@router.get(
    "/events/stream",
    tags=["events"],
    response_class=StreamingResponse,
    responses={200: {"description": "Server-sent events", "content": {_EVENTS: {"schema": {"type": "string"}}}}},
)
async def stream_events(request: Request, asked: FollowAsked, last_event_id: LastEventId = None) -> StreamingResponse:
    """Events as they happen: id is seq, event is onset or offset, data a SoundEvent.

    The first message is of the type outbox and names the outbox that the ids belong to; comments are heartbeats.
    With Last-Event-ID, or since, everything behind it comes first.
    """
    parts = parts_of(request)
    since = asked.since if last_event_id is None else last_event_id
    return _endless(request, "events", _EVENTS, follow(parts.tail, since, asked.filter))


@router.get(
    "/live",
    tags=["streams"],
    response_class=StreamingResponse,
    responses={
        200: {"description": "Messages", "content": {_LIVE: {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def live(request: Request, asked: LiveAsked) -> StreamingResponse:
    """What the model sees and scores now, lossy.

    Statuses come every second, and frames and refused candidates of the streams asked for. A refused candidate is a
    sound that the judge of engine.confirm did not confirm.

    A message is a little-endian uint32, so many bytes of JSON, then the arrays which that names, a byte a value:
    features from -14 to 6 (natural logarithm of power), scores from 0 to 1.
    """
    return _endless(request, "live", _LIVE, parts_of(request).live.follow(dict.fromkeys(asked.stream)))


def _endless(request: Request, kind: str, media_type: str, body: AsyncIterator[bytes]) -> StreamingResponse:
    give_back = parts_of(request).seats.take(request, kind)
    return _SeatedResponse(body, give_back, media_type)


class _SeatedResponse(StreamingResponse):
    """Gives its seat back when it ends, also where the client has left before its body began."""

    def __init__(self, body: AsyncIterator[bytes], give_back: Callable[[], None], media_type: str) -> None:
        super().__init__(body, media_type=media_type, headers={"X-Accel-Buffering": "no"})
        self._give_back = give_back

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the body until it or the client ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._give_back()
