"""The outbox's newest events, read once for all who follow them."""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from earmark.contracts.errors import OutboxError, UnreadableEventError
from earmark.outbox import OutboxReader, StoredEvent
from earmark.telemetry import metrics
from publishers.http.reading import Reading

POLL_S = 0.5
BATCH_EVENTS = 256
MOST_EVENTS = 4096
"""Who is further behind reads the outbox instead."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Tail:
    """Followed by many, each at a pace of its own. For one event loop.

    Args:
        live: Reads what is new.
        past: Reads for those who are behind.
    """

    def __init__(self, live: Reading, past: Reading) -> None:
        self._live = live
        self._past = past
        self._events: list[StoredEvent] = []
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self.outbox_id = ""
        """Which outbox is followed; empty until it was read."""
        self.generation = 0
        """Raised whenever what was told is no longer so: another outbox, or one that lost its end."""
        self.begin = self.end = 0
        """It holds what has ``begin < seq <= end``."""
        self.is_closing = False
        """Whether everybody should leave."""

    def wake(self) -> None:
        """Look into the outbox now."""
        self._wake.set()

    def close(self) -> None:
        """Send everybody home."""
        self.is_closing = True
        self._wake.set()
        self._tell()

    async def run(self) -> None:
        """Read what is new, until `close`."""
        failed = False
        while not self.is_closing:
            try:
                while await self._read():
                    pass
                failed = False
            except OutboxError as error:
                if not failed:
                    _log.warning("http cannot read the outbox", error=str(error))
                failed = True
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_S)
            self._wake.clear()

    async def _read(self) -> bool:
        """Take in one batch; whether there may be more."""
        outbox_id, newest, events, end = await self._live.ask(self._look)
        if outbox_id != self.outbox_id or newest < self.end:
            self.outbox_id, self._events = outbox_id, []
            self.generation += 1
            self.begin = self.end = newest
            self._tell()
            return False
        if newest == self.end:
            return False
        self._events.extend(events)
        self.end = end
        if surplus := max(0, len(self._events) - MOST_EVENTS):
            self.begin = self._events[surplus - 1].seq
            del self._events[:surplus]
        self._tell()
        return self.end < newest

    def _look(self, reader: OutboxReader) -> tuple[str, int, list[StoredEvent], int]:
        newest = reader.newest_seq()
        if reader.outbox_id != self.outbox_id or newest <= self.end:
            return reader.outbox_id, newest, [], newest
        return reader.outbox_id, newest, *_read_batch(reader, self.end, newest, on_skipped=_tell_skipped)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, seq: int) -> tuple[list[StoredEvent], int]:
        """Up to 256 of the events behind ``seq``, and the ``seq`` through which these are all that are left.

        What another release wrote and this one cannot read is not among them.

        Raises:
            OutboxError: The outbox cannot be read.
        """
        if seq >= self.begin:
            at = bisect_right(self._events, seq, key=lambda event: event.seq)
            events = self._events[at : at + BATCH_EVENTS]
            return events, _end_of(events, max(self.end, seq))
        end = self.end
        return await self._past.ask(lambda reader: _read_batch(reader, seq, end))

    async def place(self, since: int | None) -> int:
        """Where a client begins: behind ``since``, at the end for None, anew with a number that is not yet given.

        Raises:
            OutboxError: The outbox cannot be read.
        """
        while not self.outbox_id and not self.is_closing:
            await self.wait(0, POLL_S)
        if since is None:
            return self.end
        return since if since <= await self._past.ask(OutboxReader.newest_seq) else 0

    async def wait(self, seq: int, timeout_s: float) -> bool:
        """Wait for something behind ``seq``, or another outbox; whether it came in time."""
        if self.end > seq or self.is_closing:
            return True
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return False
        return True


def _read_batch(
    reader: OutboxReader, seq: int, end: int, on_skipped: Callable[[UnreadableEventError], None] | None = None
) -> tuple[list[StoredEvent], int]:
    """Up to 256 of the events behind ``seq``, and the ``seq`` through which these are all that can be read."""
    events, readable = reader.read(seq, BATCH_EVENTS, through=end), list[StoredEvent]()
    for event in events:
        try:
            _ = event.event
        except UnreadableEventError as error:
            if on_skipped is not None:
                on_skipped(error)
        else:
            readable.append(event)
    return readable, _end_of(events, end)


def _end_of(events: Sequence[StoredEvent], end: int) -> int:
    return events[-1].seq if len(events) == BATCH_EVENTS else end


def _tell_skipped(error: UnreadableEventError) -> None:
    metrics.SINK_LOST.labels("http").inc()
    _log.warning("event skipped", sink="http", seq=error.seq, error=str(error))
