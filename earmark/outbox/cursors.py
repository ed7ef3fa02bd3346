"""Where each sink stands, in a file that only the publishers write."""

from collections.abc import Mapping
from pathlib import Path

from earmark.contracts.errors import OutboxError
from earmark.outbox.database import connect, sqlite_errors, transaction

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

    def enter(self, outbox_id: str, beginnings: Mapping[str, str], *, oldest: int, newest: int) -> list[str]:
        """Give a place to each sink that has none, all at once.

        Where no sink has a place yet, the publishers are new, and every sink begins with the oldest event: the outbox's
        first events may be older than they are. A sink that joins others begins where it says.

        Args:
            outbox_id: The outbox.
            beginnings: ``now`` or ``oldest``, for each sink by name.
            oldest: The lowest ``seq`` that is kept.
            newest: The highest ``seq``.

        Returns:
            The sinks that were new and begin after events that are kept.

        Raises:
            OutboxFullError: No room; none has a place.
        """
        with sqlite_errors(self.path), transaction(self._connection):
            rows = self._connection.execute("SELECT sink FROM cursors WHERE outbox_id = ?", (outbox_id,))
            known = {sink for (sink,) in rows}
            new = [sink for sink in beginnings if sink not in known]
            late = [sink for sink in new if known and beginnings[sink] == "now"]
            self._connection.executemany(
                "INSERT INTO cursors VALUES (?, ?, ?)",
                [(sink, outbox_id, newest if sink in late else oldest - 1) for sink in new],
            )
        return late if oldest <= newest else []

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
