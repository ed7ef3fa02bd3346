"""When each clip was first seen, in a file beside the outbox.

The clips' own time stamps come from clocks that may be wrong. The index counts in `ElapsedTime` instead. Clips that it
does not know, and all of them where it was lost, are as young as its next look at the folder.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from earmark.outbox.config import OutboxConfig
from earmark.outbox.database import connect, sqlite_errors, transaction
from earmark.outbox.elapsed import ELAPSED_TABLE, ElapsedTime, Uptime, read_uptime

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, seen_s REAL NOT NULL)",
    "CREATE INDEX IF NOT EXISTS files_seen ON files (seen_s)",
    ELAPSED_TABLE,
)
_ADD = "INSERT INTO files VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET bytes = excluded.bytes"


class ClipFile(NamedTuple):
    """A file of an event: its path below the clips' folder, and its size."""

    path: str
    n_bytes: int


def clip_index_path(outbox: OutboxConfig) -> Path:
    """The file beside an outbox."""
    return outbox.path.with_name(outbox.path.name + ".clips")


class ClipIndex:
    """One connection, for one thread at a time; opened when it is first needed.

    Every method but `close` and `discard` raises `OutboxError` where the file cannot be used.

    Args:
        path: The SQLite file.
        uptime: The clock by which clips grow old.
    """

    def __init__(self, path: Path, uptime: Callable[[], Uptime] = read_uptime) -> None:
        self.path = path
        self._uptime = uptime
        self._connection: sqlite3.Connection | None = None

    def replace(self, found: Sequence[ClipFile]) -> None:
        """Know exactly these files. Those that were known keep their age; the others are new, in this order."""
        with sqlite_errors(self.path):
            connection = self._open()
            now_s = self._now_s(connection)
            with transaction(connection):
                connection.execute("CREATE TEMP TABLE found (path TEXT PRIMARY KEY)")
                connection.executemany("INSERT INTO found VALUES (?)", [(file.path,) for file in found])
                connection.execute("DELETE FROM files WHERE path NOT IN found")
                connection.execute("DROP TABLE found")
                connection.executemany(_ADD, [(*file, now_s) for file in found])

    def add(self, file: ClipFile) -> None:
        """Know a file that was written now."""
        with sqlite_errors(self.path):
            connection = self._open()
            connection.execute(_ADD, (*file, self._now_s(connection)))

    def oldest(self, limit: int, min_age_s: float | None = None) -> list[ClipFile]:
        """Files, the first seen first.

        Args:
            limit: At most so many.
            min_age_s: Only those that were seen so long ago; None for all.
        """
        with sqlite_errors(self.path):
            connection = self._open()
            last_s = float("inf") if min_age_s is None else self._now_s(connection) - min_age_s
            rows = connection.execute(
                "SELECT path, bytes FROM files WHERE seen_s <= ? ORDER BY seen_s, rowid LIMIT ?", (last_s, limit)
            ).fetchall()
        return [ClipFile(*row) for row in rows]

    def remove(self, files: Sequence[ClipFile]) -> None:
        """Forget files."""
        with sqlite_errors(self.path):
            connection = self._open()
            with transaction(connection):
                connection.executemany("DELETE FROM files WHERE path = ?", [(file.path,) for file in files])

    def _now_s(self, connection: sqlite3.Connection) -> float:
        return ElapsedTime(connection, self._uptime).now_s()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = connect(self.path, for_another_thread=True)
            try:
                for statement in _SCHEMA:
                    connection.execute(statement)
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

    def discard(self) -> None:
        """Begin a new file in the place of one that is damaged.

        Raises:
            OSError: It cannot be deleted.
        """
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
