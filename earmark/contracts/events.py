"""What subscribers get: a sound began, a sound ended. The field names are a contract; `docs/schema` holds it."""

import hashlib
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from earmark.contracts.streams import format_epoch

NEWEST_TOPIC = b"/newest"
"""On the events' socket, every second: everything through this ``seq`` was sent."""
WELCOME_PREFIX = b"/welcome/"
"""On the events' socket, first on every connection: the outbox that the numbers belong to follows."""

Phase = Literal["onset", "offset"]
EndReason = Literal["end", "gap", "interrupted", "model_changed"]


class SoundEvent(BaseModel):
    """One phase of one event. The extent is half-open: ``[onset_sample, offset_sample)``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: str = Field(description="Hash of stream, epoch, label and onset_sample; onset and offset share it.")
    seq: int = Field(ge=0, description="Place in the outbox; `since` takes it. 0 where there is no outbox.")
    stream: str = Field(description="Name of the stream.")
    epoch: str = Field(description="Run of the stream's streamer, 16 hexadecimal digits.")
    label: str = Field(description="Class of the sound.")
    phase: Phase = Field(description="Whether this tells of the event's begin or of its end.")
    onset_sample: int = Field(ge=0, description="First sample of the event, from the start of the epoch.")
    offset_sample: int | None = Field(description="First sample after the event; null at onset.")
    sample_rate_hz: int = Field(gt=0, description="Rate of the two sample indices.")
    onset_time: datetime = Field(description="UTC of onset_sample.")
    offset_time: datetime | None = Field(description="onset_time plus the event's length; null at onset.")
    score_peak: float = Field(ge=0, le=1, description="Highest smoothed score so far.")
    score_mean: float = Field(ge=0, le=1, description="Mean smoothed score so far.")
    level_db: float | None = Field(description="RMS over the event so far, dBFS; null for digital silence.")
    reason: EndReason | None = Field(description="Why the event ended, where it was not the sound that stopped.")
    decided_at: datetime = Field(description="UTC of the decision at the engine.")
    delay_ms: float | None = Field(
        description="From the arrival of the last needed sample at the engine to the decision; null where none arrived."
    )
    model: str = Field(
        description="Bundle that scored it: name@version+hash, then /name@version+hash of the judge where one confirms."
    )
    heard_by: tuple[str, ...] | None = Field(
        default=None,
        description="Where `stream` is a zone: the streams that heard it, by onset; at onset those known by then. "
        "Null for the event of one stream.",
    )


def event_id(stream: str, epoch: int, label: str, onset_sample: int) -> str:
    """The id that both phases of an event share: 32 hexadecimal digits of BLAKE2b."""
    identity = f"{stream}|{format_epoch(epoch)}|{label}|{onset_sample}"
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
