"""Moves what lies in SQLite's write-ahead log into the outbox's file, in a thread of its own.

SQLite would do it in the commit that makes the log long, and wait for the disk there: for 5 ms and more, every second
on a busy street, an engine would analyse nothing. It still does so where this thread cannot keep up.
"""

import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

from earmark.contracts.errors import EarmarkError
from earmark.outbox.database import Durability, connect

AFTER_CHANGES = 100
"""Streams and events written; SQLite's own limit, 1,000 pages, is about as many."""
LONGEST_LOG_PAGES = 4000
"""Of the connection that commits: where it moves the log itself."""


class LogMover:
    """Works beside the connection that commits.

    Args:
        path: The outbox.
        durability: As of that connection.
    """

    def __init__(self, path: Path, durability: Durability) -> None:
        self._path = path
        self._durability: Durability = durability
        self._changes = 0
        self._due = threading.Event()
        self._stop = False
        self._thread: threading.Thread | None = None

    def note(self, n_changes: int) -> None:
        """So much was committed. Never waits."""
        self._changes += n_changes
        if self._changes < AFTER_CHANGES:
            return
        self._changes = 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="outbox log", daemon=True)
            self._thread.start()
        self._due.set()

    def close(self) -> None:
        """End the thread, after what it is at."""
        self._stop = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        # Whatever is wrong with the disk, the next commit says so.
        with suppress(EarmarkError), closing(connect(self._path, self._durability)) as connection:
            while not self._stop:
                self._due.wait()
                self._due.clear()
                with suppress(sqlite3.Error):
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
