"""The sentences of a notification: ``str.format`` with a few named fields and nothing else."""

import difflib
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from string import Formatter

from earmark.contracts.errors import ConfigError
from earmark.contracts.events import SoundEvent
from publishers.filters import duration_of

_EXAMPLE = SoundEvent(
    event_id="0" * 32,
    seq=1,
    stream="gate",
    epoch="0" * 16,
    label="clock_alarm",
    phase="onset",
    onset_sample=0,
    offset_sample=None,
    sample_rate_hz=16_000,
    onset_time=datetime(2026, 1, 1, 12, tzinfo=UTC),
    offset_time=None,
    score_peak=0.9,
    score_mean=0.8,
    level_db=None,
    reason=None,
    decided_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
    delay_ms=None,
    model="urban@1",
)
_EXAMPLES = (
    _EXAMPLE,
    _EXAMPLE.model_copy(
        update={
            "phase": "offset",
            "offset_sample": 16_000,
            "offset_time": _EXAMPLE.onset_time,
            "level_db": -20.0,
            "reason": "gap",
        }
    ),
)


class _Unknown:
    """Stands where an event has no value, whatever format was asked for."""

    def __format__(self, specification: str) -> str:
        return "?"


def fields_of(event: SoundEvent, zone: tzinfo | None) -> dict[str, object]:
    """What a template may name.

    Args:
        event: The event.
        zone: Whose clock ``time`` is told by; None for the machine's.
    """
    time = event.onset_time if event.offset_time is None else event.offset_time
    values: Mapping[str, object] = {
        "stream": event.stream,
        "label": event.label,
        "sound": spoken(event.label),
        "phase": event.phase,
        "time": time.astimezone(zone),
        "score": event.score_peak,
        "score_mean": event.score_mean,
        "level_db": event.level_db,
        "duration_s": duration_of(event),
        "reason": event.reason,
        "model": event.model,
        "event_id": event.event_id,
        "heard_by": ", ".join(event.heard_by or (event.stream,)),
    }
    return {name: _Unknown() if value is None else value for name, value in values.items()}


def spoken(label: str) -> str:
    """``clock_alarm`` as ``Clock alarm``."""
    words = label.replace("_", " ")
    return words[:1].upper() + words[1:]


def check_template(text: str) -> str:
    """Return ``text``.

    Raises:
        ConfigError: It names a field that there is not, or formats one in a way that does not fit.
    """
    known = fields_of(_EXAMPLE, UTC)
    try:
        for _, name, specification, conversion in Formatter().parse(text):
            if name is not None:
                _check_field(name, specification or "", conversion, known)
        for event in _EXAMPLES:
            text.format(**fields_of(event, UTC))
    except (ValueError, TypeError, LookupError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"expected a text like '{{sound}} at {{stream}}', got {text!r}: {error}") from error
    return text


def _check_field(name: str, specification: str, conversion: str | None, known: Mapping[str, object]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {{{near[0]}}}?" if near else f"expected one of {', '.join(known)}"
        raise ConfigError(f"unknown field {{{name}}}; {hint}")
    if conversion or "{" in specification:
        raise ConfigError(f"{{{name}}}: expected at most a format behind a colon, like {{score:.2f}}")
