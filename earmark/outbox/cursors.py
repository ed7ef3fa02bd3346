"""Where each sink stands, in a file that only the publishers write."""

from pathlib import Path

from earmark.contracts.errors import OutboxError
from earmark.outbox.database import connect, sqlite_errors

CURSORS_VERSION = 1


class Cursors:
    """Durable places in an outbox, one a sink. One connection, for one thread.

    Args:
        path: The SQLite file.

    Raises:
        OutboxError: The file cannot be used, or is another version's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = connect(path)
        with sqlite_errors(path):
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, CURSORS_VERSION):
                self._connection.close()
                raise OutboxError(
                    f"{path}: expected cursors of version {CURSORS_VERSION}, got {version}; run the release that wrote "
                    "them, or delete the file and every sink tells all events again"
                )
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS cursors (sink TEXT, outbox_id TEXT, seq INTEGER NOT NULL, "
                "PRIMARY KEY (sink, outbox_id)) WITHOUT ROWID"
            )
            if version == 0:
                self._connection.execute(f"PRAGMA user_version = {CURSORS_VERSION}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get(self, sink: str, outbox_id: str) -> int:
        """The last ``seq`` that the sink took, 0 for a new sink."""
        with sqlite_errors(self.path):
            row = self._connection.execute(
                "SELECT seq FROM cursors WHERE sink = ? AND outbox_id = ?", (sink, outbox_id)
            ).fetchone()
        return 0 if row is None else row[0]

    def set(self, sink: str, outbox_id: str, seq: int) -> None:
        """Remember that the sink took everything through ``seq``.

        Raises:
            OutboxFullError: No room; the old place stands.
        """
        with sqlite_errors(self.path):
            self._connection.execute(
                "INSERT INTO cursors VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq",
                (sink, outbox_id, seq),
            )
