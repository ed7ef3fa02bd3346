"""How each stream is, as often as somebody may want to know."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from earmark.contracts.monitor import StreamStatus
from publishers.mqtt.topics import Topics

LEVEL_EVERY_S, STATUS_EVERY_S = 0.9, 10.0
"""A little early: the worker looks every half second or later, and each second is what we promise."""
GONE_AFTER_S = 6.0
"""A stream that the broker knows from an earlier connection is gone if no engine reports it within this time."""


@dataclass
class _Told:
    """What was sent last of a stream."""

    is_up: bool | None = None
    gone_from_s: float = -math.inf
    """Before this an engine may still report it."""
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
        """Report all streams again."""
        self._told = {name: _Told(told.is_up, told.gone_from_s) for name, told in self._told.items()}

    def found(self, stream: str) -> None:
        """The broker retains a status that says that a stream is up."""
        self._told[stream] = _Told(is_up=True, gone_from_s=self._clock() + GONE_AFTER_S)

    def due(self, statuses: Sequence[StreamStatus]) -> Iterator[tuple[str, str, bool]]:
        """Topics, payloads and whether the broker keeps them; what waited longest first.

        A stream that was reported before and is not among ``statuses`` is gone. The broker is told that it is down.
        """
        yield from self._gone({status.stream for status in statuses})
        known = [(self._told.setdefault(status.stream, _Told()), status) for status in statuses]
        for told, status in sorted(known, key=lambda both: both[0].level_at_s):
            yield from self._of(told, status)

    def _gone(self, present: Collection[str]) -> Iterator[tuple[str, str, bool]]:
        for stream, told in self._told.items():
            if stream not in present and told.is_up is not False and self._clock() >= told.gone_from_s:
                told.is_up = False
                down = StreamStatus(stream=stream, up=False, coverage=0.0, level_db=None, lag_s=0.0)
                yield self._topics.of(stream, "status"), status_text(down), True

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
