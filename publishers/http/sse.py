"""Events as they happen, as server-sent events: each has its ``seq`` as id, and ``Last-Event-ID`` replays.

A client is a place in the outbox. It has no queue that could grow: who reads slowly is told later, and who does not
read at all is cut off by the server and asks again from the last id.
"""

import json
import time
from collections.abc import AsyncIterator

from publishers.filters import EventFilter
from publishers.http.tail import Tail

HEARTBEAT_S = 10.0
RETRY_MS = 1000


async def follow(tail: Tail, since: int | None, wanted: EventFilter) -> AsyncIterator[bytes]:
    """The body of an answer, until the server ends.

    It begins with a message ``outbox`` that names the outbox which the ids belong to. Where nothing was said for
    `HEARTBEAT_S`, whatever else happens, comes a comment with the id through which everything was looked at, so that a
    client with a narrow filter begins there again.

    Args:
        tail: What is followed.
        since: The last ``seq`` that the client knows; None for new events only.
        wanted: Which events.

    Raises:
        OutboxError: The outbox cannot be read.
    """
    cursor, generation, outbox_id = await tail.place(since), tail.generation, ""
    said_s = time.monotonic()
    while not tail.is_closing:
        if generation != tail.generation:
            generation, cursor = tail.generation, min(cursor, tail.end) if outbox_id == tail.outbox_id else 0
        if outbox_id != tail.outbox_id:
            outbox_id = tail.outbox_id
            yield _outbox(outbox_id, tail.end, cursor)
        events, cursor = await tail.after(cursor)
        taken = b"".join(
            _message(event.seq, event.json, read.phase) for event in events if (read := wanted.read(event))
        )
        if not taken and time.monotonic() - said_s >= HEARTBEAT_S:
            taken = f": everything through {cursor}\nid: {cursor}\n\n".encode()
        if taken:
            yield taken
            said_s = time.monotonic()
        if cursor >= tail.end:
            await tail.wait(cursor, max(0.0, said_s + HEARTBEAT_S - time.monotonic()))


def _outbox(outbox_id: str, newest: int, cursor: int) -> bytes:
    told = json.dumps({"outbox": outbox_id, "newest": newest})
    return f"retry: {RETRY_MS}\nid: {cursor}\nevent: outbox\ndata: {told}\n\n".encode()


def _message(seq: int, body: str, phase: str) -> bytes:
    return f"id: {seq}\nevent: {phase}\ndata: {body}\n\n".encode()
