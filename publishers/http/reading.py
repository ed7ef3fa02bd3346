"""The outbox for a server that must not wait for a disk: a thread of its own reads, and answers come in pages."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from earmark.outbox import EventQuery, OutboxReader, StoredEvent
from publishers.source import OutboxSource

SPAN = 50_000
"""One answer looks at so many numbers at most: a filter that matches nothing must not keep others waiting."""
_PIECE = 2000
"""Events that are read before the index is asked whether further ones began in the times that are asked for."""

_T = TypeVar("_T")


class Reading:
    """A thread with the outbox open. Who asks waits for those who asked before.

    Args:
        path: The outbox.
    """

    def __init__(self, path: Path) -> None:
        self._source = OutboxSource(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="http-outbox")

    async def ask(self, question: Callable[[OutboxReader], _T]) -> _T:
        """What ``question`` finds out.

        Raises:
            OutboxError: The outbox cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: question(self._source.reader()))

    def close(self) -> None:
        """End the thread; what it is asked now, it still answers."""
        self._thread.submit(self._source.close)
        self._thread.shutdown()


def read_page(
    reader: OutboxReader, query: EventQuery, limit: int, *, since: int, cursor: int | None, newest_first: bool
) -> str:
    """An `EventPage` as JSON.

    Args:
        reader: The outbox.
        query: Which events fit.
        limit: At most so many.
        since: Only those with a higher ``seq``.
        cursor: Where the page before this one ended: a ``seq`` that was looked at.
        newest_first: The highest ``seq`` first.

    Raises:
        OutboxError: The outbox cannot be read.
    """
    newest, oldest = reader.newest_seq(), reader.oldest_seq()
    first, last = max(since, oldest - 1) + 1, newest
    if cursor is not None:
        first, last = (first, min(last, cursor - 1)) if newest_first else (max(first, cursor + 1), last)
    elif query.has_times:
        first, last = _skip(reader, query, first, last, newest_first=newest_first)
    events, n_left = list[StoredEvent](), SPAN
    while first <= last and len(events) < limit and n_left > 0:
        n = min(_PIECE if query.has_times else SPAN, n_left)
        n_left -= n
        after, through = (max(first - 1, last - n), last) if newest_first else (first - 1, min(last, first - 1 + n))
        room = limit - len(events)
        found = reader.search(query, room, after=after, through=through, newest_first=newest_first)
        events += found
        if len(found) == room:
            first, last = (first, found[-1].seq - 1) if newest_first else (found[-1].seq + 1, last)
        else:
            first, last = (first, after) if newest_first else (through + 1, last)
            if query.has_times:
                first, last = _skip(reader, query, first, last, newest_first=newest_first)
    reached = last + 1 if newest_first else first - 1
    body = ",".join(event.json for event in events)
    return (
        f'{{"outbox":"{reader.outbox_id}","newest":{newest},"oldest":{oldest},'
        f'"cursor":{reached if first <= last else "null"},"events":[{body}]}}'
    )


def _skip(reader: OutboxReader, query: EventQuery, first: int, last: int, *, newest_first: bool) -> tuple[int, int]:
    """The stretch from ``first`` to ``last`` without what began at other times than the query's, at the near end."""
    nearest = reader.nearest(query, after=first - 1, through=last, newest_first=newest_first)
    if nearest is None:
        return last + 1, last
    return (first, nearest) if newest_first else (nearest, last)
