"""What the streams of zones hear together, kept in the outbox. All engines of a machine share it.

The caller begins and ends the transactions: what changes here changes with the streams' own events or not at all.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta

from earmark.contracts.clock import samples_to_ns
from earmark.contracts.events import SoundEvent
from earmark.outbox.fusion import Fusion

MOST_FUSION_MS = 60_000.0


class Zones:
    """The zones of one outbox, over an engine's connection.

    Args:
        connection: The outbox's; borrowed.
        streams: Of each zone, whichever engine hears them.
        fusion_ms: How far apart in time what they hear may be and still be one event; `MOST_FUSION_MS` at most.
        clock: Monotonic nanoseconds, the same for all engines of the machine.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        streams: Mapping[str, Collection[str]],
        fusion_ms: float,
        clock: Callable[[], int],
    ) -> None:
        self._connection = connection
        self._zone_of = {stream: zone for zone, members in streams.items() for stream in members}
        self._window_ns = round(fusion_ms * 1e6)
        self._clock = clock

    def fuse(self, events: Iterable[SoundEvent]) -> list[SoundEvent]:
        """The zones' events that follow from events of streams; those of streams without a zone are passed over."""
        by_key: dict[tuple[str, str], list[SoundEvent]] = defaultdict(list)
        for event in events:
            if (zone := self._zone_of.get(event.stream)) is not None:
                by_key[zone, event.label].append(event)
        told: list[SoundEvent] = []
        for (zone, label), heard in by_key.items():
            fusion = self._load(zone, label)
            told += fusion.take(heard, self._clock())
            self._keep(fusion, zone, label)
        return told

    def is_due(self, *, is_last: bool) -> bool:
        """Whether `settle` has something to tell. It needs no transaction."""
        now_ns = self._clock()
        (is_due,) = self._connection.execute(
            # What is due later than any window allows is of a clock that began anew.
            "SELECT EXISTS (SELECT 1 FROM fusions WHERE due_ns NOT NULL AND (? OR due_ns NOT BETWEEN ? AND ?))",
            (is_last, now_ns + 1, now_ns + round(MOST_FUSION_MS * 1e6)),
        ).fetchone()
        return bool(is_due)

    def settle(self, *, is_last: bool) -> list[SoundEvent]:
        """The zones' events that are over, though no stream has news; with ``is_last`` nobody is waited for."""
        told: list[SoundEvent] = []
        for zone, label in self._connection.execute("SELECT zone, label FROM fusions WHERE due_ns NOT NULL").fetchall():
            fusion = self._load(zone, label)
            told += fusion.tell(self._clock(), is_last=is_last)
            self._keep(fusion, zone, label)
        return told

    def let_strangers_go(self) -> None:
        """End what is open of streams that are not in their zone any more: an earlier configuration had them there."""
        for zone, label in self._connection.execute("SELECT zone, label FROM fusions").fetchall():
            fusion = self._load(zone, label)
            for onset in fusion.strangers(self._zone_of):
                fusion.interrupt(onset, self._decided_time(onset), self._clock())
            self._keep(fusion, zone, label)

    def _decided_time(self, onset: SoundEvent) -> datetime:
        """UTC through which a stream was decided on."""
        row = self._connection.execute(
            "SELECT decided_sample FROM streams WHERE stream = ? AND epoch = ?", (onset.stream, onset.epoch)
        ).fetchone()
        n_samples = row[0] - onset.onset_sample if row else 0
        return onset.onset_time + timedelta(microseconds=samples_to_ns(n_samples, onset.sample_rate_hz) // 1000)

    def _load(self, zone: str, label: str) -> Fusion:
        row = self._connection.execute(
            "SELECT sounds FROM fusions WHERE zone = ? AND label = ?", (zone, label)
        ).fetchone()
        return Fusion(zone, self._window_ns, row[0] if row else None)

    def _keep(self, fusion: Fusion, zone: str, label: str) -> None:
        if (stored := fusion.stored) is None:
            self._connection.execute("DELETE FROM fusions WHERE zone = ? AND label = ?", (zone, label))
        else:
            self._connection.execute(
                "INSERT INTO fusions VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET due_ns = excluded.due_ns, sounds = excluded.sounds",
                (zone, label, fusion.due_ns, stored),
            )
