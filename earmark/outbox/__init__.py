"""The durable log between engine and publishers: events, checkpoints and cursors in SQLite.

Engines write through `Outbox`, publishers read through `OutboxReader` and remember their place in `Cursors`, a file of
their own, so that no publisher can hold up an engine.
"""

from earmark.outbox.cursors import Cursors
from earmark.outbox.reader import EventQuery, OutboxReader, StoredEvent
from earmark.outbox.wake import Waker, WakeSignal
from earmark.outbox.writer import Checkpoint, Outbox, StoredStream, StreamCommit

__all__ = [
    "Checkpoint",
    "Cursors",
    "EventQuery",
    "Outbox",
    "OutboxReader",
    "StoredEvent",
    "StoredStream",
    "StreamCommit",
    "WakeSignal",
    "Waker",
]
