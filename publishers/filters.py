"""Which events a sink takes."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from earmark.contracts.config import Section
from earmark.contracts.errors import ConfigError
from earmark.contracts.events import Phase, SoundEvent
from earmark.outbox import StoredEvent

Begin = Literal["now", "oldest"]
"""Where a sink begins that is added to an outbox with events."""
BOTH_PHASES: tuple[Phase, ...] = ("onset", "offset")
_SINK_NAME = re.compile(r"[a-z0-9_-]{1,32}")


def check_sink_name(name: str) -> str:
    """Return ``name``, which becomes part of a cursor's and a metric's.

    Raises:
        ConfigError: It is not 1 to 32 of the characters ``a-z 0-9 _ -``.
    """
    if not _SINK_NAME.fullmatch(name):
        raise ConfigError(f"a sink's name is 1 to 32 of the characters a-z 0-9 _ -, got {name!r}; rename it")
    return name


class EventFilter(Section):
    """Which events are taken: those that fit everything that is set here."""

    streams: tuple[str, ...] = ()
    """Only of these streams; empty for all."""
    labels: tuple[str, ...] = ()
    """Only these labels; empty for all."""
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)] = BOTH_PHASES
    """Whether onsets, offsets or both are taken."""
    min_score_peak: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Only events whose highest score so far reaches this."""
    min_level_db: float | None = None
    """Only events at least so loud so far, in dBFS; null takes digital silence too."""
    min_duration_s: Annotated[float, Field(ge=0)] = 0.0
    """Only offsets of events at least so long. Above 0 it takes no onset, because nobody knows yet how long that is."""

    @model_validator(mode="after")
    def _takes_something(self) -> Self:
        if self.min_duration_s > 0 and "offset" not in self.phases:
            raise ValueError("expected offset among phases, because only an offset can have min_duration_s; add it")
        return self

    def read(self, stored: StoredEvent) -> SoundEvent | None:
        """The event if it is taken. What is of another stream or label is not even parsed."""
        if not self._takes_name(stored.stream, stored.label):
            return None
        event = stored.event
        return event if self.takes(event) else None

    def takes(self, event: SoundEvent) -> bool:
        """Whether the event fits."""
        return (
            self._takes_name(event.stream, event.label)
            and event.phase in self.phases
            and event.score_peak >= self.min_score_peak
            and self._is_loud(event)
            and self._is_long(event)
        )

    def _takes_name(self, stream: str, label: str) -> bool:
        return (not self.streams or stream in self.streams) and (not self.labels or label in self.labels)

    def _is_loud(self, event: SoundEvent) -> bool:
        return self.min_level_db is None or (event.level_db is not None and event.level_db >= self.min_level_db)

    def _is_long(self, event: SoundEvent) -> bool:
        if self.min_duration_s == 0:
            return True
        duration_s = duration_of(event)
        return duration_s is not None and duration_s >= self.min_duration_s


def duration_of(event: SoundEvent) -> float | None:
    """An offset's length in seconds; None for an onset."""
    if event.offset_sample is None:
        return None
    return (event.offset_sample - event.onset_sample) / event.sample_rate_hz
