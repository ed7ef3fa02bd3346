"""How much time has really passed, whatever the wall clock says.

A small computer boots in 1970, a battery dies, somebody sets the year wrong: none of that may delete an event. So
retention counts the seconds that the kernel counts since boot, which nobody can set, and keeps the sum in a table. Time
while the machine is off is not counted, because nothing proves how long that was.
"""

import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ELAPSED_TABLE = (
    "CREATE TABLE IF NOT EXISTS elapsed (boot TEXT NOT NULL, uptime_s REAL NOT NULL, elapsed_s REAL NOT NULL)"
)
SAVE_EVERY_S = 60.0
"""A reboot costs the count so much at most."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UPTIME = Path("/proc/uptime")
_PROCESS = f"process-{uuid.uuid4().hex}"


class Uptime(NamedTuple):
    """A reading of a clock that only counts up.

    Attributes:
        boot: Names what the clock belongs to: readings of two boots cannot be compared.
        uptime_s: Seconds since that began, those of suspension included.
    """

    boot: str
    uptime_s: float


def read_uptime() -> Uptime:
    """The kernel's; where it has no such files, this process's monotonic clock."""
    try:
        return Uptime(_BOOT_ID.read_text("ascii").strip(), float(_UPTIME.read_text("ascii").split()[0]))
    except (OSError, ValueError, IndexError):
        return Uptime(_PROCESS, time.monotonic())


class ElapsedTime:
    """Seconds that have certainly passed since a database was made: never too many, and too few after reboots.

    Args:
        connection: Of the database, in autocommit; it has `ELAPSED_TABLE`. Borrowed.
        uptime: Reads the clock.
    """

    def __init__(self, connection: sqlite3.Connection, uptime: Callable[[], Uptime] = read_uptime) -> None:
        self._connection = connection
        self._uptime = uptime

    def now_s(self) -> float:
        """The count now. Several processes may share it.

        Raises:
            sqlite3.Error: It cannot be read or, once a minute, written.
        """
        boot, uptime_s = self._uptime()
        row = self._connection.execute("SELECT boot, uptime_s, elapsed_s FROM elapsed").fetchone()
        if row is None:
            self._connection.execute("INSERT INTO elapsed VALUES (?, ?, 0.0)", (boot, uptime_s))
            return 0.0
        saved_boot, saved_uptime_s, elapsed_s = row
        since_s = uptime_s - saved_uptime_s
        is_same_boot = boot == saved_boot and since_s >= 0
        now_s = elapsed_s + since_s if is_same_boot else elapsed_s
        if not is_same_boot or since_s >= SAVE_EVERY_S:
            self._connection.execute(
                "UPDATE elapsed SET boot = ?, uptime_s = ?, elapsed_s = ?", (boot, uptime_s, now_s)
            )
        return now_s
