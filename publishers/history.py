"""The history socket: what a subscriber missed.

A request is JSON: ``since`` (null asks only for where the outbox stands), ``limit``, ``streams``, ``labels`` and
``through``. The answer is ``{"outbox", "newest", "oldest", "covered", "events"}``: every event of the filter with
``since < seq <= covered`` that retention left, in order. A peer that asks again from ``covered`` until it reaches
``newest`` has everything. The answers come straight from the outbox and may be ahead of what PUB sent; a subscriber
drops a live event that is not above its ``covered``, so it sees neither a hole nor an event twice.
"""

import json
import threading
from typing import Annotated, Any

import structlog
import zmq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from earmark.contracts.errors import OutboxError
from earmark.links.door import Door
from earmark.outbox import OutboxReader, StoredEvent
from earmark.outbox.config import OutboxConfig
from earmark.telemetry import metrics
from earmark.telemetry.refusals import Refusals
from publishers.source import OutboxSource
from publishers.zeromq import bind_socket

MOST_EVENTS = 1000
SPAN = 50_000
"""One answer looks at so many numbers at most: a filter that matches nothing must not keep others waiting."""
MOST_REQUEST_BYTES = 65_536
MOST_ANSWERS = 16
"""Answers that wait for a peer which does not read; further ones are dropped, and it asks again."""
MOST_ENVELOPE_FRAMES = 8
"""Who asks, by way of whom, and what a REQ socket puts before its request. They go back with the answer."""
_POLL_MS = 200
_LARGEST = 2**63 - 1

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

Seq = Annotated[int, Field(ge=0, le=_LARGEST)]


class HistoryRequest(BaseModel):
    """What a subscriber asks."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    since: Seq | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_EVENTS)] = MOST_EVENTS
    streams: Annotated[list[str], Field(max_length=1000)] = []
    labels: Annotated[list[str], Field(max_length=1000)] = []
    through: Seq | None = None


class History:
    """A ROUTER socket, bound at once, and the thread that answers on it.

    Args:
        context: The process's.
        bind: Address.
        outbox: Where events come from.
        door: Who may ask; None for anybody.

    Raises:
        ConfigError: The address cannot be bound.
    """

    def __init__(self, context: "zmq.Context[Any]", bind: str, outbox: OutboxConfig, door: Door | None = None) -> None:
        self.error: Exception | None = None
        """What ended the thread, where that was no call of `stop`."""
        self._source = OutboxSource(outbox.path)
        self._door = door
        self._refusals = Refusals()
        self._socket = _bind(context, bind, door)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; whether it ended, or never began."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Close the socket, after the thread ended."""
        self._socket.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._socket.poll(_POLL_MS):
                    *envelope, request = self._socket.recv_multipart(copy=False)
                    if len(envelope) > MOST_ENVELOPE_FRAMES:
                        metrics.REFUSED.labels("history").inc()
                    elif self._may_ask(request):
                        self._socket.send_multipart([*envelope, self._answer(request.bytes).encode()])
        except Exception as error:  # noqa: BLE001 -- the service supervises this thread and raises it
            self.error = error
        finally:
            self._source.close()

    def _may_ask(self, request: zmq.Frame) -> bool:
        """Whether its sender's key is allowed still: ZeroMQ looked when it connected."""
        if self._door is None:
            return True
        key = str(request.get("User-Id"))
        if self._door.find(key) is not None:
            return True
        self._refusals.count("revoked_key", key, "expected a key that is allowed, got one that no longer is")
        return False

    def _answer(self, message: bytes) -> str:
        try:
            request = HistoryRequest.model_validate_json(message)
        except ValidationError as error:
            metrics.REFUSED.labels("history").inc()
            return json.dumps({"error": _describe(error)})
        try:
            answer = answer_request(self._source.reader(), request)
        except OutboxError as error:
            _log.warning("history cannot read", error=str(error))
            return json.dumps({"error": str(error)})
        metrics.HISTORY_REQUESTS.inc()
        return answer


def _bind(context: "zmq.Context[Any]", address: str, door: Door | None) -> "zmq.Socket[bytes]":
    options = {zmq.MAXMSGSIZE: MOST_REQUEST_BYTES, zmq.SNDHWM: MOST_ANSWERS}
    where = "publishers.zeromq.history_bind"
    return bind_socket(context, zmq.ROUTER, address, where=where, options=options, door=door)


def _describe(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the request"
    return f"{where}: {first['msg']}"


def answer_request(reader: OutboxReader, request: HistoryRequest) -> str:
    """The answer to ``request``, as JSON.

    Raises:
        OutboxError: The outbox cannot be read.
    """
    newest, oldest = reader.newest_seq(), reader.oldest_seq()
    end = newest if request.through is None else min(request.through, newest)
    if request.since is None:
        return _compose(reader.outbox_id, newest, oldest, end, [])
    through = min(end, max(request.since, oldest - 1) + SPAN)
    events = reader.read(request.since, request.limit, through=through, streams=request.streams, labels=request.labels)
    covered = events[-1].seq if len(events) == request.limit else through
    # Retention may have removed events while we read: the later look at the oldest tells of all that is missing.
    return _compose(reader.outbox_id, newest, reader.oldest_seq(), covered, events)


def _compose(outbox_id: str, newest: int, oldest: int, covered: int, events: list[StoredEvent]) -> str:
    body = ",".join(event.json for event in events)
    return f'{{"outbox":"{outbox_id}","newest":{newest},"oldest":{oldest},"covered":{covered},"events":[{body}]}}'
