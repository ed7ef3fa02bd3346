"""How each stream is, as often as somebody may want to know."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from earmark.contracts.monitor import StreamStatus
from publishers.mqtt.topics import Topics

LEVEL_EVERY_S, STATUS_EVERY_S = 0.9, 10.0
"""A little early: the worker looks every half second or later, and each second is what we promise."""


@dataclass
class _Told:
    """What was sent last of a stream."""

    is_up: bool | None = None
    level: str = ""
    status_at_s: float = -math.inf
    level_at_s: float = -math.inf


class Reports:
    """Statuses and levels that are due.

    Args:
        topics: Where they go.
        clock: Monotonic seconds.
        zones: Names of those that are zones, which have no level.
    """

    def __init__(self, topics: Topics, clock: Callable[[], float], zones: Collection[str]) -> None:
        self._topics = topics
        self._zones = zones
        self._clock = clock
        self._told: dict[str, _Told] = {}

    def forget(self) -> None:
        """Tell all again."""
        self._told.clear()

    def due(self, statuses: Iterable[StreamStatus]) -> Iterator[tuple[str, str, bool]]:
        """Topics, payloads and whether the broker keeps them; what waited longest first."""
        known = [(self._told.setdefault(status.stream, _Told()), status) for status in statuses]
        for told, status in sorted(known, key=lambda both: both[0].level_at_s):
            yield from self._of(told, status)

    def _of(self, told: _Told, status: StreamStatus) -> Iterator[tuple[str, str, bool]]:
        now_s, level = self._clock(), level_text(status.level_db)
        if status.up != told.is_up or now_s - told.status_at_s >= STATUS_EVERY_S:
            told.is_up, told.status_at_s = status.up, now_s
            yield self._topics.of(status.stream, "status"), status_text(status), True
        if status.stream in self._zones:
            return
        age_s = now_s - told.level_at_s
        if age_s >= STATUS_EVERY_S or (level != told.level and age_s >= LEVEL_EVERY_S):
            told.level, told.level_at_s = level, now_s
            yield self._topics.of(status.stream, "level"), level, False


def statuses_of_zones(statuses: Iterable[StreamStatus], zones: Mapping[str, Collection[str]]) -> Iterator[StreamStatus]:
    """How each zone is whose streams an engine told of: as the one that is listened to best, and without a level."""
    known = {status.stream: status for status in statuses}
    for zone, streams in zones.items():
        if members := [known[stream] for stream in streams if stream in known]:
            best = max(members, key=lambda status: (status.up, status.coverage))
            yield best.model_copy(update={"stream": zone, "level_db": None})


def level_text(level_db: float | None) -> str:
    """The level in dBFS with one decimal; ``null`` where there is no sound at all, which no number says."""
    return "null" if level_db is None else f"{level_db:.1f}"


def status_text(status: StreamStatus) -> str:
    """``up``, ``coverage``, ``coverage_s``, ``level_db`` and ``lag_s`` as JSON."""
    return json.dumps(
        {
            "up": status.up,
            "coverage": round(status.coverage, 4),
            "coverage_s": round(status.coverage_s, 1),
            "level_db": None if status.level_db is None else round(status.level_db, 1),
            "lag_s": round(status.lag_s, 2),
        }
    )
