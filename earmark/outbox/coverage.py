"""How much of each stream was analysed, minute by minute, for as long as the machine has been up.

Minutes are those of the monotonic clock, which goes on while an engine restarts. Another boot has another clock, and
begins with nothing: how long the machine was off is not known.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from earmark.outbox.elapsed import Uptime

COVERAGE_TABLE = (
    "CREATE TABLE coverage (boot TEXT NOT NULL, minute INTEGER NOT NULL, stream TEXT NOT NULL, since_s REAL NOT NULL, "
    "analysed INTEGER NOT NULL, advanced INTEGER NOT NULL, PRIMARY KEY (boot, minute, stream)) WITHOUT ROWID"
)


class CoveredMinute(NamedTuple):
    """What became of one minute of a stream.

    Attributes:
        stream: Its name.
        minute: Of the monotonic clock.
        since_s: Monotonic time from which the stream is measured.
        analysed: Samples that were analysed.
        advanced: Samples by which its clock advanced.
    """

    stream: str
    minute: int
    since_s: float
    analysed: int
    advanced: int


class StoredCoverage:
    """The table, over an engine's connection. Engines share it, and each writes its own streams.

    Args:
        connection: The outbox's, for writing; borrowed.
        uptime: Names the boot.
    """

    def __init__(self, connection: sqlite3.Connection, uptime: Callable[[], Uptime]) -> None:
        self._connection = connection
        self._boot = uptime().boot

    def load(self) -> dict[str, list[CoveredMinute]]:
        """What engines stored since the machine started, the oldest minute of each stream first."""
        rows = self._connection.execute(
            "SELECT stream, minute, since_s, analysed, advanced FROM coverage WHERE boot = ? ORDER BY minute",
            (self._boot,),
        )
        found: defaultdict[str, list[CoveredMinute]] = defaultdict(list)
        for row in rows:
            found[row[0]].append(CoveredMinute(*row))
        return dict(found)

    def save(self, minutes: Sequence[CoveredMinute], oldest: int) -> None:
        """Store minutes in place of what they were, and forget those before ``oldest``. Wants a transaction."""
        self._connection.executemany(
            "INSERT INTO coverage (boot, stream, minute, since_s, analysed, advanced) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET "
            "since_s = excluded.since_s, analysed = excluded.analysed, advanced = excluded.advanced",
            [(self._boot, *minute) for minute in minutes],
        )
        self._connection.execute("DELETE FROM coverage WHERE boot != ? OR minute < ?", (self._boot, oldest))
