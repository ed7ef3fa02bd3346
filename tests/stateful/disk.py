"""A SQLite connection that fails, or with which its process dies, at a chosen statement."""

import sqlite3


class DiedError(Exception):
    """A process was killed where this was raised."""


class Disk:
    """Stands before a real connection.

    Args:
        connection: The real one.
        at: How the statement begins at which faults happen.
    """

    def __init__(self, connection: sqlite3.Connection, at: str):
        self._connection, self._at = connection, at
        self.fault = ""
        """``full`` (SQLite's own), ``broken``, ``dies before``, ``dies after`` or none."""

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def break_down(self, fault: str):
        self.fault = fault
        if fault == "full":
            self._connection.execute("PRAGMA max_page_count = 1")  # no less than there are, says SQLite

    def mend(self):
        self.fault = ""
        self._connection.execute("PRAGMA max_page_count = 1000000")

    def execute(self, statement: str, values: tuple[object, ...] = ()):
        fault = self.fault if statement.startswith(self._at) else ""
        if fault == "broken":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        if fault == "dies before":
            raise DiedError
        result = self._connection.execute(statement, values)
        if fault == "dies after":
            raise DiedError
        return result

    def executemany(self, statement: str, values: list[tuple[object, ...]]):
        return self._connection.executemany(statement, values)

    def close(self):
        self._connection.close()
