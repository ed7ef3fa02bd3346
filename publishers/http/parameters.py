"""What a request may say. Names that are not here are refused, so that a filter never goes unnoticed."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Header, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from earmark.contracts.events import Phase
from earmark.contracts.streams import STREAM_NAME
from earmark.outbox import EventQuery
from publishers.filters import BOTH_PHASES, EventFilter

MOST_EVENTS = 1000
MOST_NAMES = 100
MOST_LIVE = 16
_LARGEST = 2**63 - 1
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,19}")


def _check_time(value: Any) -> Any:
    if isinstance(value, str) and not _TIME.fullmatch(value):
        raise ValueError("expected a time with its zone, like 2026-11-21T13:00:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("expected a time of the years 1 to 9999, in UTC too") from error


def _check_number(value: Any) -> Any:
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("expected a whole number from 0 on")
    return value


Seq = Annotated[int, Field(ge=0, le=_LARGEST), BeforeValidator(_check_number)]
Time = Annotated[AwareDatetime, BeforeValidator(_check_time), AfterValidator(_in_utc)]
StreamName = Annotated[str, Field(pattern=f"^{STREAM_NAME.pattern}$")]
LabelName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,64}$")]
EventId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
LastEventId = Annotated[Seq | None, Header(description="What a client got last: everything behind it is sent again.")]


class _Parameters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoParameters(_Parameters):
    """Nothing may be said."""


class _Filter(_Parameters):
    stream: Annotated[list[StreamName], Field(max_length=MOST_NAMES)] = Field(
        default=[], description="Only of these streams; all without it."
    )
    label: Annotated[list[LabelName], Field(max_length=MOST_NAMES)] = Field(
        default=[], description="Only these labels; all without it."
    )
    phase: Annotated[list[Phase], Field(max_length=2)] = Field(
        default=[], description="Only onsets, or only offsets; both without it."
    )
    min_score: float = Field(
        default=0.0, ge=0, le=1, description="Only events whose highest score so far reaches this."
    )


class EventParameters(_Filter):
    """Of a page of events."""

    since: Seq = Field(default=0, description="Only events with a higher seq.")
    from_time: Time | None = Field(default=None, alias="from", description="Only events that began then or later.")
    to_time: Time | None = Field(default=None, alias="to", description="Only events that began before.")
    order: Literal["oldest", "newest"] = Field(default="oldest", description="Which come first.")
    limit: Annotated[int, Field(ge=1, le=MOST_EVENTS), BeforeValidator(_check_number)] = Field(
        default=100, description="At most so many."
    )
    cursor: Seq | None = Field(default=None, description="What the page before this one said.")

    @property
    def query(self) -> EventQuery:
        """Which events fit."""
        return EventQuery(self.stream, self.label, self.phase, self.from_time, self.to_time, self.min_score)


class FollowParameters(_Filter):
    """Of events as they happen."""

    since: Seq | None = Field(default=None, description="As Last-Event-ID, for who cannot send headers.")

    @property
    def filter(self) -> EventFilter:
        """Which events are taken."""
        phases = tuple(self.phase) or BOTH_PHASES
        return EventFilter(
            streams=tuple(self.stream), labels=tuple(self.label), phases=phases, min_score_peak=self.min_score
        )


class LiveParameters(_Parameters):
    """Of pictures."""

    stream: Annotated[list[StreamName], Field(max_length=MOST_LIVE)] = Field(
        default=[], description="Whose frames are sent; only statuses without it."
    )


EventsAsked = Annotated[EventParameters, Query()]
FollowAsked = Annotated[FollowParameters, Query()]
LiveAsked = Annotated[LiveParameters, Query()]
Nothing = Annotated[NoParameters, Query()]
