"""How the two SQLite files are opened, and what is in the outbox's."""

import os
import sqlite3
import stat
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from earmark.contracts.errors import OutboxError, OutboxFullError
from earmark.outbox.coverage import COVERAGE_TABLE
from earmark.outbox.elapsed import ELAPSED_TABLE

BEGAN = "rtrim(json_extract(body, '$.onset_time'), 'Z')"
"""SQL for an event's onset. As text it sorts like the time, once the letter is off: a whole second has no fraction."""
_BUSY_S = 5.0
_UPGRADE_S = 300.0
"""Who comes while another process brings the tables up to date waits for so long."""
Durability = Literal["normal", "full"]

_STEPS = (
    """
    CREATE TABLE outbox (outbox_id TEXT NOT NULL);
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        event_id TEXT NOT NULL, phase TEXT NOT NULL, stream TEXT NOT NULL, label TEXT NOT NULL,
        created_ns INTEGER NOT NULL, body TEXT NOT NULL,
        UNIQUE (event_id, phase)
    );
    CREATE TABLE streams (
        stream TEXT PRIMARY KEY, revision INTEGER NOT NULL,
        epoch TEXT, decided_sample INTEGER, row_start INTEGER, bundle TEXT, state BLOB
    ) WITHOUT ROWID;
    CREATE TABLE retired (
        stream TEXT NOT NULL, epoch TEXT NOT NULL, end_sample INTEGER NOT NULL, PRIMARY KEY (stream, epoch)
    ) WITHOUT ROWID;
    """,
    f"""
    CREATE TABLE fusions (
        zone TEXT NOT NULL, label TEXT NOT NULL, due_ns INTEGER, sounds TEXT NOT NULL, PRIMARY KEY (zone, label)
    ) WITHOUT ROWID;
    CREATE INDEX events_began ON events ({BEGAN});
    """,
    f"""
    {ELAPSED_TABLE};
    CREATE TABLE marks (elapsed_s REAL NOT NULL, seq INTEGER NOT NULL);
    {COVERAGE_TABLE};
    """,
)
"""What each version added to the one before."""
SCHEMA_VERSION = len(_STEPS)


@contextmanager
def sqlite_errors(path: Path) -> Generator[None]:
    """Turn SQLite's errors into ours.

    Raises:
        OutboxFullError: The disk has no room, or SQLite cannot write for another passing reason.
        OutboxError: Anything else.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        code = error.sqlite_errorcode & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            raise OutboxFullError(f"{path}: {error} by another process; nothing was committed") from error
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise OutboxFullError(f"{path}: {error}; nothing was committed, free some space on its disk") from error
        raise OutboxError(f"{path}: {error}") from error
    except sqlite3.IntegrityError:
        raise  # a bug of ours, no fault of the file
    except sqlite3.DatabaseError as error:
        raise OutboxError(f"{path}: {error}; expected an outbox of Earmark, move this file away") from error


def connect(path: Path, durability: Durability = "normal", *, for_another_thread: bool = False) -> sqlite3.Connection:
    """A connection in write-ahead mode, in autocommit: transactions are begun by hand.

    Args:
        path: The file; its folder is made.
        durability: ``normal`` survives the death of the process, ``full`` that of the machine.
        for_another_thread: Whether another thread will use it, and that alone.

    Raises:
        OutboxError: The file cannot be opened or is no database.
    """
    with sqlite_errors(path):
        make_private(path)
        connection = sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=not for_another_thread
        )
        try:
            _write_ahead(connection)
            connection.execute(f"PRAGMA synchronous = {durability.upper()}")
        except BaseException:
            connection.close()
            raise
        return connection


def make_private(path: Path) -> None:
    """Make a file if it is missing, and its folder, for their owner alone; SQLite's own files beside it take its mode.

    It is never opened: to close it would take the locks of all connections that this process has to it, and another
    process would then take their write-ahead log for one that nobody uses, and delete it.

    Raises:
        OutboxError: It cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.mknod(path, stat.S_IFREG | 0o600)
    except OSError as error:
        raise OutboxError(f"expected to open or make {path}, got: {error.strerror}") from error


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Set write-ahead mode. While another process does so, SQLite says "locked" at once, whatever its timeout is."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def connect_outbox(path: Path, durability: Durability = "normal") -> sqlite3.Connection:
    """A connection to the outbox, made if it does not exist; one of an older version is brought up to date.

    Raises:
        OutboxError: The file is a newer version's.
    """
    connection = connect(path, durability)
    try:
        with sqlite_errors(path):
            version = _version(connection)
            if version < SCHEMA_VERSION:
                version = _bring_up_to_date(connection)
    except BaseException:
        connection.close()
        raise
    if version > SCHEMA_VERSION:
        connection.close()
        raise OutboxError(
            f"{path}: expected an outbox of version {SCHEMA_VERSION} at most, got {version}, which a newer release "
            "of Earmark wrote; run that one, or set outbox.path to begin another"
        )
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _bring_up_to_date(connection: sqlite3.Connection) -> int:
    """Add what is missing, unless another process has just done it; the version that there is now."""
    connection.execute(f"PRAGMA busy_timeout = {_UPGRADE_S * 1000:.0f}")
    with transaction(connection):
        version = _version(connection)
        for statement in ";".join(_STEPS[version:]).split(";"):
            connection.execute(statement)
        if version == 0:
            connection.execute("INSERT INTO outbox VALUES (?)", (uuid.uuid4().hex,))
        version = max(version, SCHEMA_VERSION)
        connection.execute(f"PRAGMA user_version = {version}")
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_S * 1000:.0f}")
    return version


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """All that is written inside, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
