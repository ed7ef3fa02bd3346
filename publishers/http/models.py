"""What the answers look like; the OpenAPI document is made of it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from earmark.contracts.events import SoundEvent


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Complaint(_Answer):
    """One thing that is wrong with a request."""

    where: str = Field(description="Place in the request, such as query.since.")
    expected: str = Field(description="What would be right.")


class Problem(_Answer):
    """Why a request was not answered; RFC 9457."""

    type: str = Field(description="Always about:blank: the status says which kind it is.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was expected, what came, and what to do.")
    errors: list[Complaint] = Field(default=[], description="Each parameter that is wrong.")


class StreamView(_Answer):
    """How a stream is."""

    stream: str = Field(description="Name of the stream.")
    up: bool = Field(description="Whether audio of it arrived in the last 5 s.")
    coverage: float | None = Field(
        ge=0, le=1, description="Share of the last `coverage_s` that was really analysed; null where no engine tells."
    )
    coverage_s: float | None = Field(
        ge=0, description="What it is a share of: an hour, or less of a new stream; null where no engine tells."
    )
    level_db: float | None = Field(description="RMS over the last second, dBFS; null for digital silence or no audio.")
    lag_s: float | None = Field(
        ge=0, description="Audio that waits for the engine, seconds; null where no engine tells."
    )


class Thresholds(_Answer):
    """How a label's scores become events."""

    onset_threshold: float = Field(description="An event is where the score reaches this,")
    offset_threshold: float = Field(description="from where it came to this until it falls below.")
    min_duration_s: float = Field(description="What is shorter is no event.")
    min_gap_s: float = Field(description="What begins again within this time is the same event still.")
    max_unproven_s: float | None = Field(
        default=None,
        description="How long an event goes on after the score last reached onset_threshold; null sets no limit.",
    )


class StreamDetail(StreamView):
    """How a stream is, and what is special about it."""

    overrides: dict[str, Thresholds] = Field(description="Labels and groups whose thresholds differ from the bundle's.")
    last_event: SoundEvent | None = Field(description="The newest event that the outbox keeps of it.")


class Streams(_Answer):
    """Every stream that should be heard, or was, by name."""

    streams: list[StreamView]
    zones: dict[str, list[str]] = Field(
        description="Streams by zone; a zone has events under its name as a stream has."
    )


class Label(Thresholds):
    """A class of the model."""

    label: str = Field(description="Name of the class.")
    groups: list[str] = Field(description="Groups that it is in.")


class Group(Thresholds):
    """Classes that have events together, beside their own."""

    label: str = Field(description="Name of the group, which its events have as label.")
    labels: list[str] = Field(description="Classes that are in it.")


class Labels(_Answer):
    """What can be heard."""

    model: str = Field(description="Bundle that scores: name@version+hash.")
    labels: list[Label] = Field(description="In the order of the model's scores.")
    groups: dict[str, list[str]] = Field(description="Labels by group.")
    decided_groups: list[Group] = Field(description="Groups that have events; they have no scores in frames.")
    overrides: dict[str, dict[str, Thresholds]] = Field(
        description="What streams change, by stream and label or group."
    )


class EventPage(_Answer):
    """Some of the events that fit."""

    outbox: str = Field(description="Names the outbox that every seq belongs to.")
    newest: int = Field(ge=0, description="Highest seq there is; `since` takes it once `cursor` is null.")
    oldest: int = Field(ge=0, description="Lowest seq that retention has left.")
    cursor: int | None = Field(
        description="Ask again with it, and the same filter, for more, even after an empty page; null at the end."
    )
    events: list[SoundEvent]


class EventPhases(_Answer):
    """Both phases of one event, as far as the outbox keeps them."""

    event_id: str = Field(description="What both share.")
    onset: SoundEvent | None = Field(description="Its begin.")
    offset: SoundEvent | None = Field(description="Its end; null while it lasts.")
    has_scores: bool = Field(description="Whether /events/{event_id}/scores has the scores around it.")
    has_clip: bool = Field(description="Whether /events/{event_id}/clip has its sound.")


class Health(_Answer):
    """Whether this server can do its work."""

    healthy: bool = Field(description="Whether it turns.")
    ready: bool = Field(description="Whether it can read the outbox.")


class Configuration(_Answer):
    """The configuration as it runs."""

    config: dict[str, Any] = Field(description="Every section; *** stands for what may be a secret.")
