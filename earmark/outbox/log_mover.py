"""Moves what lies in SQLite's write-ahead log into the outbox's file, in a thread of its own.

SQLite would do it in the commit that makes the log long, and wait for the disk there: for 5 ms and more, every second
on a busy street, an engine would analyse nothing. It still does so where this thread cannot keep up.
"""

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from earmark.outbox.database import Durability, connect

AFTER_CHANGES = 100
"""Streams and events written; SQLite's own limit, 1,000 pages, is about as many."""
LONGEST_LOG_PAGES = 4000
"""Of the connection that commits: where it moves the log itself."""


class LogMover:
    """Works beside the connection that commits, from the start on, so that both have the very same file.

    Args:
        path: The outbox, which is there.
        durability: As of that connection.

    Raises:
        OutboxError: The file cannot be opened once more.
    """

    def __init__(self, path: Path, durability: Durability) -> None:
        self._connection = connect(path, durability, for_another_thread=True)
        self._changes = 0
        self._due = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="outbox log", daemon=True)
        self._thread.start()

    def note(self, n_changes: int) -> None:
        """So much was committed. Never waits."""
        self._changes += n_changes
        if self._changes >= AFTER_CHANGES:
            self._changes = 0
            self._due.set()

    def close(self) -> None:
        """End the thread, after what it is at."""
        self._stop = True
        self._due.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while not self._stop:
            self._due.wait()
            self._due.clear()
            with suppress(sqlite3.Error):  # whatever is wrong with the disk, the next commit says so
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
