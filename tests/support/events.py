"""An event, as an engine would tell it."""

from datetime import UTC, datetime

from earmark.contracts.events import SoundEvent, event_id
from earmark.contracts.streams import format_epoch

EPOCH = 7


def make_event(number: int, stream: str = "gate", label: str = "dog") -> SoundEvent:
    """The onset at sample ``number``; the same arguments give the same id."""
    now = datetime.now(UTC)
    return SoundEvent(
        event_id=event_id(stream, EPOCH, label, number),
        seq=0,
        stream=stream,
        epoch=format_epoch(EPOCH),
        label=label,
        phase="onset",
        onset_sample=number,
        offset_sample=None,
        sample_rate_hz=16_000,
        onset_time=now,
        offset_time=None,
        score_peak=0.9,
        score_mean=0.8,
        level_db=-20.0,
        reason=None,
        decided_at=now,
        delay_ms=1.0,
        model="urban@1+0123456789abcdef",
    )
