"""The publishers' side: events in the order of their ``seq``."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from earmark.contracts.events import SoundEvent
from earmark.outbox.database import connect_outbox, sqlite_errors


@dataclass(frozen=True)
class StoredEvent:
    """An event as it lies in the outbox; ``body`` is its JSON but for ``seq``."""

    seq: int
    stream: str
    label: str
    body: str

    @property
    def json(self) -> str:
        """The whole event as JSON."""
        return f'{{"seq":{self.seq},{self.body[1:]}'

    @property
    def event(self) -> SoundEvent:
        """The event."""
        return SoundEvent.model_validate_json(self.json)


class OutboxReader:
    """The outbox, for reading. One connection, for one thread.

    Args:
        path: The SQLite file; made if no engine has done it yet.

    Raises:
        OutboxError: The file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = connect_outbox(path)
        with sqlite_errors(path):
            self._connection.execute("PRAGMA query_only = 1")
            (self.outbox_id,) = self._connection.execute("SELECT outbox_id FROM outbox").fetchone()
        """Names this outbox; a ``seq`` means something only beside it."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def newest_seq(self) -> int:
        """The highest ``seq`` ever used, 0 before the first event."""
        with sqlite_errors(self.path):
            row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return 0 if row is None else row[0]

    def oldest_seq(self) -> int:
        """The lowest ``seq`` that retention has left; one above `newest_seq` when there is none."""
        with sqlite_errors(self.path):
            (seq,) = self._connection.execute("SELECT min(seq) FROM events").fetchone()
        return self.newest_seq() + 1 if seq is None else seq

    def read(
        self,
        since: int,
        limit: int,
        *,
        through: int | None = None,
        streams: Collection[str] = (),
        labels: Collection[str] = (),
    ) -> list[StoredEvent]:
        """Events behind ``since``, in order.

        Args:
            since: Only those with a higher ``seq``.
            limit: At most so many.
            through: Only those with a ``seq`` up to this one.
            streams: Only of these; empty for all.
            labels: Only of these; empty for all.
        """
        where, values = ["seq > ?"], list[int | str]([since])
        if through is not None:
            where.append("seq <= ?")
            values.append(through)
        for column, names in (("stream", streams), ("label", labels)):
            if names:
                where.append(f"{column} IN ({', '.join('?' * len(names))})")
                values.extend(names)
        query = f"SELECT seq, stream, label, body FROM events WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?"  # noqa: S608 -- columns and question marks only
        with sqlite_errors(self.path):
            rows = self._connection.execute(query, (*values, limit)).fetchall()
        return [StoredEvent(*row) for row in rows]
