"""Events that a sink gave up, kept until somebody sends them again or drops them.

They lie in a file beside the outbox that only its owner may read. The publishers put letters in, and take them out once
they are delivered; ``earmark dead-letters`` reads them, deletes some or marks them to be sent again. Whoever runs the
sink looks for such marks when it has nothing else to do. Each of these is one SQLite transaction, so that the command
and the publishers need not know of each other.
"""

import sqlite3
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from earmark.contracts.config import Section
from earmark.outbox import StoredEvent
from earmark.outbox.config import OutboxConfig
from earmark.outbox.database import make_private, sqlite_errors, transaction
from earmark.outbox.elapsed import ELAPSED_TABLE, ElapsedTime, Uptime, read_uptime
from earmark.telemetry import metrics

_BUSY_S = 2.0
_DAY_S = 86_400.0
_COLUMNS = "id, sink, seq, stream, label, body, reason, attempts, died_ns, is_wanted"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, key TEXT NOT NULL,
    seq INTEGER NOT NULL, stream TEXT NOT NULL, label TEXT NOT NULL, body TEXT NOT NULL,
    reason TEXT NOT NULL, attempts INTEGER NOT NULL, died_ns INTEGER NOT NULL,
    is_wanted INTEGER NOT NULL DEFAULT 0, UNIQUE (sink, key)
)
"""
_ADD_AGE = "ALTER TABLE letters ADD COLUMN died_elapsed_s REAL NOT NULL DEFAULT 0.0"
"""What a letter's age follows from; what an earlier release wrote grows old from the upgrade on."""


class DeadLettersConfig(Section):
    """How many events that could not be delivered are kept, and for how long."""

    max_count: Annotated[int, Field(ge=1)] = 10_000
    """A sink's oldest are dropped beyond this."""
    max_age_days: Annotated[float, Field(gt=0, le=36_500)] = 30.0
    """Events that were given up this long ago are dropped. Time counts as for ``outbox.max_age_days``."""


@dataclass(frozen=True)
class DeadLetter:
    """An event that a sink gave up.

    Attributes:
        id: Names the letter on the command line; never used again.
        sink: Who gave it up.
        stored: The event, as it lay in the outbox.
        reason: What was answered last.
        attempts: How often it was tried.
        died_ns: When it was given up, or last tried again; UTC, nanoseconds since 1970.
        is_wanted: Whether it is to be sent again.
    """

    id: int
    sink: str
    stored: StoredEvent
    reason: str
    attempts: int
    died_ns: int
    is_wanted: bool


def dead_letters_path(outbox: OutboxConfig) -> Path:
    """The file beside an outbox."""
    return outbox.path.with_name(outbox.path.name + ".deadletters")


class DeadLetters:
    """The letters of an outbox's sinks. One connection, for one thread at a time; opened when it is first needed.

    Args:
        path: The SQLite file; made with the first letter.
        limits: How much is kept.
        uptime: The clock by which letters grow old.
    """

    def __init__(self, path: Path, limits: DeadLettersConfig, uptime: Callable[[], Uptime] = read_uptime) -> None:
        self.path = path
        self._limits = limits
        self._uptime = uptime
        self._connection: sqlite3.Connection | None = None

    def add(self, sink: str, key: str, stored: StoredEvent, reason: str, attempts: int) -> None:
        """Keep an event; one that lies here already is only told anew. The oldest go where there are too many.

        Args:
            sink: Who gives it up.
            key: Tells the event from the sink's others.
            stored: The event.
            reason: Why; holds no secret.
            attempts: How often it was tried.

        Raises:
            OutboxFullError: No room; nothing was kept.
        """
        with sqlite_errors(self.path):
            connection = self._open()
            died = time.time_ns(), self._elapsed_s(connection)
            n_new = connection.execute(
                "INSERT INTO letters (sink, key, seq, stream, label, body, reason, attempts, died_ns, died_elapsed_s) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (sink, key, stored.seq, stored.stream, stored.label, stored.body, reason, attempts, *died),
            )
        metrics.SINK_DEAD_LETTERS.labels(sink).inc(n_new.rowcount)
        self._drop_surplus(sink)

    def prune(self) -> None:
        """Drop the letters, of any sink, that are older than `DeadLettersConfig.max_age_days` of time that passed.

        Raises:
            OutboxError: The file cannot be used.
        """
        if not self.path.exists():
            return
        with sqlite_errors(self.path):
            oldest_s = self._elapsed_s(self._open()) - self._limits.max_age_days * _DAY_S
        self._drop("DELETE FROM letters WHERE died_elapsed_s < ? RETURNING sink", (oldest_s,))

    def _elapsed_s(self, connection: sqlite3.Connection) -> float:
        return ElapsedTime(connection, self._uptime).now_s()

    def _drop_surplus(self, sink: str) -> None:
        self._drop(
            "DELETE FROM letters WHERE id IN "
            "(SELECT id FROM letters WHERE sink = ? ORDER BY id DESC LIMIT -1 OFFSET ?) RETURNING sink",
            (sink, self._limits.max_count),
        )

    def _drop(self, statement: str, values: tuple[str | float, ...]) -> None:
        if not self.path.exists():
            return
        with sqlite_errors(self.path):
            dropped = self._open().execute(statement, values).fetchall()
        for (sink,) in dropped:
            metrics.SINK_DEAD_LETTERS_DROPPED.labels(sink).inc()

    def read(self, *, sink: str | None = None, is_wanted: bool | None = None, limit: int = -1) -> list[DeadLetter]:
        """Letters, the oldest first.

        Args:
            sink: Only this one's.
            is_wanted: Only those that are, or are not, to be sent again.
            limit: At most so many; negative for all.
        """
        if not self.path.exists():
            return []
        query = f"SELECT {_COLUMNS} FROM letters WHERE (?1 IS NULL OR sink = ?1) AND (?2 IS NULL OR is_wanted = ?2) ORDER BY id LIMIT ?3"  # noqa: E501, S608 -- a constant
        with sqlite_errors(self.path):
            rows = self._open().execute(query, (sink, is_wanted, limit)).fetchall()
        return [
            DeadLetter(id_, name, StoredEvent(*event), reason, attempts, died_ns, bool(wanted))
            for id_, name, *event, reason, attempts, died_ns, wanted in rows
        ]

    def want(self, ids: Collection[int]) -> int:
        """Mark letters to be sent again; how many there were."""
        return self._change("UPDATE letters SET is_wanted = 1 WHERE id = ?", [(id_,) for id_ in ids])

    def failed_again(self, letter: DeadLetter, reason: str) -> None:
        """Note that sending it again failed; it stays, and its mark goes."""
        with sqlite_errors(self.path):
            died = time.time_ns(), self._elapsed_s(self._open())
        self._change(
            "UPDATE letters SET is_wanted = 0, reason = ?, attempts = attempts + 1, died_ns = ?, died_elapsed_s = ? "
            "WHERE id = ?",
            [(reason, *died, letter.id)],
        )

    def remove(self, ids: Collection[int]) -> int:
        """Take letters out; how many there were."""
        return self._change("DELETE FROM letters WHERE id = ?", [(id_,) for id_ in ids])

    def _change(self, statement: str, rows: list[tuple[str | float, ...]]) -> int:
        if not self.path.exists():
            return 0
        with sqlite_errors(self.path):
            connection = self._open()
            with transaction(connection):
                return connection.executemany(statement, rows).rowcount if rows else 0

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            make_private(self.path)
            # The sink's thread uses it, and whoever ended that thread closes it.
            connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA synchronous = NORMAL")
                _bring_up_to_date(connection)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def close(self) -> None:
        """Close the file, if it was opened; it may be used again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Make the tables, or add what an earlier release did not have. Other processes may do so now."""
    with transaction(connection):
        connection.execute(_SCHEMA)
        connection.execute(ELAPSED_TABLE)
        if not any(column[1] == "died_elapsed_s" for column in connection.execute("PRAGMA table_info(letters)")):
            connection.execute(_ADD_AGE)
