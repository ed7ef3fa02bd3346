"""Which events of the outbox are old.

Age follows the outbox's own order and `ElapsedTime`. From time to time a mark notes the newest ``seq`` and the count of
that moment: all events through that ``seq`` are at least as old as the mark. No time stamp of an event is ever read, so
neither a clock that was wrong when an event was written nor one that is wrong now deletes anything.
"""

import sqlite3
from collections.abc import Callable

from earmark.outbox.elapsed import ElapsedTime, Uptime

PIECE = 500
"""Events that one call deletes at most."""
_MARKS_PER_AGE = 100
_LONGEST_MARK_S = 3600.0


class Retention:
    """Deletes what is old or too much. Engines that share the outbox share its marks.

    Args:
        connection: The outbox's, for writing, in autocommit; borrowed.
        uptime: Reads the clock.
    """

    def __init__(self, connection: sqlite3.Connection, uptime: Callable[[], Uptime]) -> None:
        self._connection = connection
        self._elapsed = ElapsedTime(connection, uptime)

    def prune(self, max_age_s: float, max_bytes: int) -> int:
        """Delete up to `PIECE` of the oldest events; how many.

        Args:
            max_age_s: Events that were stored longer ago go. They may stay 1 % of it longer, or one hour.
            max_bytes: While the file holds more, the oldest go whatever their age.

        Raises:
            sqlite3.Error: Nothing was deleted.
        """
        now_s = self._elapsed.now_s()
        self._mark(now_s, min(max_age_s / _MARKS_PER_AGE, _LONGEST_MARK_S))
        (old,) = self._fetch("SELECT coalesce(max(seq), 0) FROM marks WHERE elapsed_s <= ?", now_s - max_age_s)
        n_deleted = self._connection.execute(
            "DELETE FROM events WHERE (? OR seq <= ?) AND seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?)",
            (self._is_larger_than(max_bytes), old, PIECE),
        ).rowcount
        self._connection.execute("DELETE FROM marks WHERE seq < ?", (old,))
        return n_deleted

    def _mark(self, now_s: float, every_s: float) -> None:
        (newest,) = self._fetch("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")
        (seq, at_s) = self._fetch("SELECT coalesce(max(seq), 0), coalesce(max(elapsed_s), 0.0) FROM marks")
        if newest > seq and (seq == 0 or now_s - at_s >= every_s):
            self._connection.execute("INSERT INTO marks VALUES (?, ?)", (now_s, newest))

    def _is_larger_than(self, max_bytes: int) -> bool:
        pages, free, page_bytes = (
            self._fetch(f"PRAGMA {name}")[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * page_bytes > max_bytes

    def _fetch(self, query: str, *values: float) -> tuple[int, ...]:
        return self._connection.execute(query, values).fetchone()
