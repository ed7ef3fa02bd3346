"""The engine's side: events and the checkpoint that they follow from, in one transaction.

A commit of a stream counts only if the stored revision is what this engine last read or wrote. So two engines that both
believe to own a stream cannot both decide on it, and whoever is refused loads the stream again.

What the streams of a zone hear together becomes an event of the zone in the same transaction, because no engine alone
knows all of them.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from earmark.contracts.events import SoundEvent
from earmark.contracts.streams import format_epoch
from earmark.outbox.coverage import CoveredMinute, StoredCoverage
from earmark.outbox.database import Durability, connect_outbox, sqlite_errors, transaction
from earmark.outbox.elapsed import Uptime, read_uptime
from earmark.outbox.log_mover import LONGEST_LOG_PAGES, LogMover
from earmark.outbox.retention import Retention
from earmark.outbox.zones import Zones


@dataclass(frozen=True)
class Checkpoint:
    """Where a stream's decisions stand.

    Attributes:
        epoch: The epoch that is being analysed.
        decided_sample: End of the last frame that was given to the smoother.
        row_start: First sample that the scoring row of the model has seen.
        bundle: Fingerprint of the bundle that scored it.
        state: The smoother's state of the stream; its own business.
    """

    epoch: int
    decided_sample: int
    row_start: int
    bundle: str
    state: bytes


@dataclass(frozen=True)
class StoredStream:
    """What the outbox knows of a stream. ``checkpoint`` is None between two epochs."""

    revision: int
    checkpoint: Checkpoint | None


@dataclass
class StreamCommit:
    """One stream's part of a transaction.

    Attributes:
        stream: Its name.
        revision: What `Outbox.load` gave or the last commit made; 0 for a new stream.
        checkpoint: Where it stands now; None when its epoch has ended.
        events: In order; their ``seq`` is made by the commit.
        retired: Epochs that are over for good, with their end.
        refused: Labels of onsets that were refused since the last commit; not stored, but counted when that is durable.
    """

    stream: str
    revision: int
    checkpoint: Checkpoint | None
    events: list[SoundEvent] = field(default_factory=list[SoundEvent])
    retired: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    refused: list[str] = field(default_factory=list[str])


class Outbox:
    """The outbox, for writing. One connection, for one thread.

    Args:
        path: The SQLite file.
        durability: See `earmark.outbox.database.connect`.
        zones: The streams of each zone, whichever engine hears them; None leaves zones alone.
        fusion_ms: How far apart in time what they hear may be and still be one event.
        clock: Monotonic nanoseconds, the same for all engines of the machine.
        uptime: The clock by which events grow old.

    Raises:
        OutboxError: The file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        durability: Durability = "normal",
        *,
        zones: Mapping[str, Collection[str]] | None = None,
        fusion_ms: float = 0.0,
        clock: Callable[[], int] = time.monotonic_ns,
        uptime: Callable[[], Uptime] = read_uptime,
    ) -> None:
        self.path = path
        self._connection = connect_outbox(path, durability)
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {LONGEST_LOG_PAGES}")
        self._log = LogMover(path, durability)
        self._zones = None if zones is None else Zones(self._connection, zones, fusion_ms, clock)
        self._may_hold_strangers = zones is not None
        self._retention = Retention(self._connection, uptime)
        self._coverage = StoredCoverage(self._connection, uptime)

    def close(self) -> None:
        """Close the connection."""
        self._log.close()
        self._connection.close()

    def load(self, stream: str) -> StoredStream:
        """What is stored of a stream; revision 0 and no checkpoint for an unknown one."""
        with sqlite_errors(self.path):
            row = self._connection.execute(
                "SELECT revision, epoch, decided_sample, row_start, bundle, state FROM streams WHERE stream = ?",
                (stream,),
            ).fetchone()
        if row is None:
            return StoredStream(0, None)
        revision, epoch, *rest = row
        return StoredStream(revision, None if epoch is None else Checkpoint(int(epoch, 16), *rest))

    def open_streams(self) -> dict[str, int]:
        """The revision of every stream whose epoch has not ended."""
        with sqlite_errors(self.path):
            rows = self._connection.execute("SELECT stream, revision FROM streams WHERE epoch IS NOT NULL").fetchall()
        return dict(rows)

    def retired_end(self, stream: str, epoch: int) -> int | None:
        """The end of an epoch that is over for good; None for one that is not."""
        with sqlite_errors(self.path):
            row = self._connection.execute(
                "SELECT end_sample FROM retired WHERE stream = ? AND epoch = ?", (stream, format_epoch(epoch))
            ).fetchone()
        return None if row is None else row[0]

    def commit(self, commits: Sequence[StreamCommit]) -> set[str]:
        """Write the streams' parts in one transaction.

        Returns:
            The streams whose revision another engine had overtaken; nothing of theirs was written.

        Raises:
            OutboxFullError: No room; nothing of any stream was written.
        """
        with sqlite_errors(self.path):
            self._let_strangers_go()
            with transaction(self._connection):
                written = [commit for commit in commits if self._write_checkpoint(commit)]
                self._retire([(commit.stream, *retired) for commit in written for retired in commit.retired])
                events = [event for commit in written for event in commit.events]
                self._insert(events)
                if self._zones is not None:
                    self._insert(self._zones.fuse(events))
        self._log.note(len(commits) + len(events))
        return {commit.stream for commit in commits} - {commit.stream for commit in written}

    def settle(self, *, is_last: bool = False) -> bool:
        """Tell of the zones' events that are over, though no stream has anything to commit.

        Args:
            is_last: Whether nothing will be committed for now, so that no stream is waited for.

        Returns:
            Whether there was any.

        Raises:
            OutboxFullError: No room; nothing was written.
        """
        if self._zones is None:
            return False
        with sqlite_errors(self.path):
            self._let_strangers_go()
            if not self._zones.is_due(is_last=is_last):
                return False
            with transaction(self._connection):
                told = self._zones.settle(is_last=is_last)
                self._insert(told)
        return bool(told)

    def _let_strangers_go(self) -> None:
        if self._zones is not None and self._may_hold_strangers:
            with transaction(self._connection):
                self._zones.let_strangers_go()
            self._may_hold_strangers = False

    def _retire(self, epochs: Sequence[tuple[str, int, int]]) -> None:
        """Note the streams' epochs that are over, with their ends."""
        self._connection.executemany(
            "INSERT INTO retired VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(stream, format_epoch(epoch), end) for stream, epoch, end in epochs],
        )

    def _insert(self, events: Sequence[SoundEvent]) -> None:
        now_ns = time.time_ns()
        self._connection.executemany(
            "INSERT INTO events (event_id, phase, stream, label, created_ns, body) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (event.event_id, event.phase, event.stream, event.label, now_ns, event.model_dump_json(exclude={"seq"}))
                for event in events
            ],
        )

    def _write_checkpoint(self, commit: StreamCommit) -> bool:
        point = commit.checkpoint
        values = (
            (None,) * 5
            if point is None
            else (format_epoch(point.epoch), point.decided_sample, point.row_start, point.bundle, point.state)
        )
        if commit.revision == 0:
            statement = "INSERT INTO streams VALUES (?, 1, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
            return self._connection.execute(statement, (commit.stream, *values)).rowcount == 1
        return (
            self._connection.execute(
                "UPDATE streams SET revision = revision + 1, epoch = ?, decided_sample = ?, row_start = ?, bundle = ?, "
                "state = ? WHERE stream = ? AND revision = ?",
                (*values, commit.stream, commit.revision),
            ).rowcount
            == 1
        )

    def load_coverage(self) -> dict[str, list[CoveredMinute]]:
        """What was analysed of each stream since the machine started, as far as it was saved."""
        with sqlite_errors(self.path):
            return self._coverage.load()

    def save_coverage(self, minutes: Sequence[CoveredMinute], oldest: int) -> None:
        """Store minutes in place of what they were, and forget those before ``oldest``.

        Raises:
            OutboxFullError: No room; nothing was written.
        """
        with sqlite_errors(self.path), transaction(self._connection):
            self._coverage.save(minutes, oldest)

    def prune(self, max_age_s: float, max_bytes: int) -> int:
        """Delete up to 500 of the oldest events that are older than ``max_age_s`` or too many for ``max_bytes``.

        Returns:
            How many were deleted; call again while it is not 0.

        Raises:
            OutboxFullError: No room; nothing was deleted.
        """
        with sqlite_errors(self.path):
            return self._retention.prune(max_age_s, max_bytes)
