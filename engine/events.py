"""From the sample clock to what subscribers read."""

import math
import time
from datetime import UTC, datetime, timedelta

from earmark.contracts.clock import samples_to_ns
from earmark.contracts.events import EndReason, SoundEvent, event_id
from earmark.contracts.streams import format_epoch
from engine.smoothing import Transition

_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def make_event(
    told: Transition,
    *,
    stream: str,
    epoch: int,
    sample_rate_hz: int,
    model: str,
    reason: EndReason | None = None,
    arrived_at_s: float | None = None,
) -> SoundEvent:
    """A transition as an event without a place in the outbox.

    Args:
        told: What the smoother said.
        stream: Name of the stream.
        epoch: Run of its streamer.
        sample_rate_hz: Rate of the transition's samples.
        model: Identity of the bundle.
        reason: Why it ended, where it was not the sound that stopped.
        arrived_at_s: Monotonic arrival of the last needed sample, None where none was needed.
    """
    onset_time = _utc(told.onset_ns)
    offset_time = None
    if told.offset is not None:
        offset_time = onset_time + timedelta(
            microseconds=samples_to_ns(told.offset - told.onset, sample_rate_hz) // 1000
        )
    return SoundEvent(
        event_id=event_id(stream, epoch, told.label, told.onset),
        seq=0,
        stream=stream,
        epoch=format_epoch(epoch),
        label=told.label,
        phase="onset" if told.offset is None else "offset",
        onset_sample=told.onset,
        offset_sample=told.offset,
        sample_rate_hz=sample_rate_hz,
        onset_time=onset_time,
        offset_time=offset_time,
        score_peak=round(told.score_peak, 4),
        score_mean=round(told.score_mean, 4),
        level_db=round(10 * math.log10(told.power), 1) if told.power > 0 else None,
        reason=reason,
        decided_at=datetime.now(UTC),
        delay_ms=None if arrived_at_s is None else round((time.monotonic() - arrived_at_s) * 1000, 3),
        model=model,
    )


def _utc(ns: int) -> datetime:
    return _1970 + timedelta(microseconds=ns // 1000)
