"""The publishers' side: events in the order of their ``seq``."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from earmark.contracts.errors import UnreadableEventError
from earmark.contracts.events import Phase, SoundEvent
from earmark.outbox.database import BEGAN, connect_outbox, sqlite_errors

# One statement sees one state: between two an engine might commit the very first event.
_OLDEST = """
SELECT coalesce((SELECT min(seq) FROM events), (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'events'), 1)
"""


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
        """The event.

        Raises:
            UnreadableEventError: Another release wrote it.
        """
        try:
            return SoundEvent.model_validate_json(self.json)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise UnreadableEventError(
                self.seq, f"event {self.seq}: {where}: {first['msg']}; another release of Earmark wrote it"
            ) from error

    @property
    def event_or_none(self) -> SoundEvent | None:
        """The event; None where another release wrote it."""
        try:
            return self.event
        except UnreadableEventError:
            return None


@dataclass(frozen=True)
class EventQuery:
    """Which events are looked for: those that fit everything that is set here.

    Attributes:
        streams: Only of these; empty for all.
        labels: Only of these; empty for all.
        phases: Only these; empty for both.
        from_time: Only those that began at this time or later; it has a time zone.
        to_time: Only those that began before it.
        min_score: Only those whose highest score so far reaches this.
    """

    streams: Collection[str] = ()
    labels: Collection[str] = ()
    phases: Collection[Phase] = ()
    from_time: datetime | None = None
    to_time: datetime | None = None
    min_score: float = 0.0

    @property
    def has_times(self) -> bool:
        """Whether it asks for when events began."""
        return self.from_time is not None or self.to_time is not None


class OutboxReader:
    """The outbox, for reading. One connection, for one thread.

    Args:
        path: The SQLite file; made if no engine has done it yet.

    Raises:
        OutboxError: The file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection, self.outbox_id = _open(path)
        """The id names this outbox; a ``seq`` means something only beside it."""

    def reopen(self) -> None:
        """Read the file that lies at the path now.

        Raises:
            OutboxError: It cannot be used; this one is still read.
        """
        old = self._connection
        self._connection, self.outbox_id = _open(self.path)
        old.close()

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
            (seq,) = self._connection.execute(_OLDEST).fetchone()
        return seq

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
        where, values = _among(streams=streams, labels=labels, phases=())
        if through is not None:
            where.append("seq <= ?")
            values.append(through)
        return self._select(["seq > ?", *where], [since, *values], limit)

    def search(
        self, query: EventQuery, limit: int, *, after: int, through: int, newest_first: bool = False
    ) -> list[StoredEvent]:
        """Events that fit, in order of their ``seq``.

        Args:
            query: What fits.
            limit: At most so many.
            after: Only those with a higher ``seq``.
            through: Only those with a ``seq`` up to this one. The stretch between the two bounds the work.
            newest_first: The highest ``seq`` first.
        """
        where, values = _among(query.streams, query.labels, query.phases)
        began, times = _began(query)
        where += began
        values += times
        if query.min_score > 0:
            where.append("json_extract(body, '$.score_peak') >= ?")
            values.append(query.min_score)
        order = "seq DESC" if newest_first else "seq"
        return self._select(["seq > ?", "seq <= ?", *where], [after, through, *values], limit, order)

    def nearest(self, query: EventQuery, *, after: int, through: int, newest_first: bool = False) -> int | None:
        """The lowest ``seq`` that began in the query's times, or with ``newest_first`` the highest; None for none.

        It looks at times alone: at those of the next event and, where that does not fit, at all that do, in their
        index, which costs less than a twentieth of reading those events.

        Args:
            query: Which times fit.
            after: Only those with a higher ``seq``.
            through: Only those with a ``seq`` up to this one.
            newest_first: From ``through`` down.
        """
        conditions, times = _began(query)
        fits, direction, which = " AND ".join(conditions), *(("DESC", "max") if newest_first else ("ASC", "min"))
        with sqlite_errors(self.path):
            row = self._connection.execute(
                f"SELECT seq, {fits} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq {direction} LIMIT 1",  # noqa: S608 -- our own conditions, with question marks
                (*times, after, through),
            ).fetchone()
            if row is None or row[1]:
                return None if row is None else row[0]
            return self._connection.execute(
                f"SELECT {which}(seq) FROM events INDEXED BY events_began WHERE {fits} AND +seq > ? AND +seq <= ?",  # noqa: S608 -- the same
                (*times, after, through),
            ).fetchone()[0]

    def phases_of(self, event_id: str) -> list[StoredEvent]:
        """What is kept of one event: its onset, its offset, both or neither."""
        return self._select(["event_id = ?"], [event_id], limit=2)

    def newest_of(self, stream: str) -> StoredEvent | None:
        """A stream's newest event, among the newest 50,000 of all."""
        found = self._select(["seq > ?", "stream = ?"], [self.newest_seq() - 50_000, stream], 1, "seq DESC")
        return found[0] if found else None

    def _select(
        self, where: list[str], values: Sequence[int | float | str], limit: int, order: str = "seq"
    ) -> list[StoredEvent]:
        query = f"SELECT seq, stream, label, body FROM events WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?"  # noqa: S608 -- our own conditions, with question marks
        with sqlite_errors(self.path):
            rows = self._connection.execute(query, (*values, limit)).fetchall()
        return [StoredEvent(*row) for row in rows]


def _began(query: EventQuery) -> tuple[list[str], list[int | float | str]]:
    """Conditions on when events began, and their values."""
    bounds = ((f"{BEGAN} >= ?", query.from_time), (f"{BEGAN} < ?", query.to_time))
    asked = [(where, at.astimezone(UTC).replace(tzinfo=None).isoformat()) for where, at in bounds if at is not None]
    return [where for where, _ in asked], [value for _, value in asked]


def _among(
    streams: Collection[str], labels: Collection[str], phases: Collection[Phase]
) -> tuple[list[str], list[int | float | str]]:
    """Conditions on columns, and their values."""
    where, values = list[str](), list[int | float | str]()
    for column, names in (("stream", streams), ("label", labels), ("phase", phases)):
        if names:
            where.append(f"{column} IN ({', '.join('?' * len(names))})")
            values.extend(names)
    return where, values


def _open(path: Path) -> tuple[sqlite3.Connection, str]:
    """A connection that only reads, and the outbox's id."""
    connection = connect_outbox(path)
    with sqlite_errors(path):
        connection.execute("PRAGMA query_only = 1")
        (outbox_id,) = connection.execute("SELECT outbox_id FROM outbox").fetchone()
    return connection, outbox_id
