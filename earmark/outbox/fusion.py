"""Several microphones, one event: the rules by which what the streams of a zone hear becomes one event.

A zone is told of as a stream is: for each label an onset and an offset in turn, never two events at once. Nothing here
reads a clock or a file; `earmark.outbox.zones` keeps the sounds.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, TypeAdapter

from earmark.contracts.clock import samples_to_ns
from earmark.contracts.events import EndReason, SoundEvent, event_id

MOST_SOUNDS = 8
"""Of one zone and label: one that is told of, and others that wait for its end. Beyond that what fits none joins the
last."""


class Sound(BaseModel):
    """What the streams of a zone heard together, until it was told of.

    Attributes:
        first: The onset that the zone's is made of.
        is_told: Whether that was done.
        onsets: Of each stream that heard it, the earliest.
        open: Onsets of the events that have not ended, by their id.
        offset_time: The latest so far; None before the first.
        reason: Why that event ended.
        quiet_ns: When the last open event's end was decided, monotonic.
        score_peak: Highest of the events that have ended.
        score_s: Sum of their mean scores, each times its length.
        length_s: Sum of their lengths.
        level_db: Of the loudest of them.
    """

    first: SoundEvent
    is_told: bool = False
    onsets: dict[str, datetime] = {}
    open: dict[str, SoundEvent] = {}
    offset_time: datetime | None = None
    reason: EndReason | None = None
    quiet_ns: int = 0
    score_peak: float = 0.0
    score_s: float = 0.0
    length_s: float = 0.0
    level_db: float | None = None

    @property
    def heard_by(self) -> tuple[str, ...]:
        """The streams, by their onsets."""
        return tuple(sorted(self.onsets, key=lambda stream: (self.onsets[stream], stream)))

    @property
    def _began(self) -> datetime:
        return min(self.onsets.values())

    def fits(self, onset_time: datetime, window: timedelta) -> bool:
        """Whether what begins then is the same sound."""
        return onset_time >= self._began - window and not self.is_before(onset_time, window)

    def is_before(self, onset_time: datetime, window: timedelta) -> bool:
        """Whether it was over when that began."""
        return not self.open and self.offset_time is not None and onset_time > self.offset_time + window

    def begin(self, onset: SoundEvent) -> None:
        """A stream hears it."""
        self.open[onset.event_id] = onset
        self.onsets[onset.stream] = min(onset.onset_time, self.onsets.get(onset.stream, onset.onset_time))
        if not self.is_told:
            self.first = min(self.first, onset, key=lambda event: (event.onset_time, event.stream))

    def end(self, event: SoundEvent, offset_time: datetime, now_ns: int) -> None:
        """A stream does not hear it any more; ``event`` is its offset, or the onset where nothing better is known."""
        del self.open[event.event_id]
        self.quiet_ns = now_ns
        if self.offset_time is None or offset_time > self.offset_time:
            self.offset_time, self.reason = offset_time, event.reason
        elif offset_time == self.offset_time and event.reason is None:
            self.reason = None
        length_s = max((offset_time - event.onset_time).total_seconds(), 1 / event.sample_rate_hz)
        self.score_peak = max(self.score_peak, event.score_peak)
        self.score_s += event.score_mean * length_s
        self.length_s += length_s
        levels = [level for level in (self.level_db, event.level_db) if level is not None]
        self.level_db = max(levels, default=None)

    def onset_of(self, zone: str) -> SoundEvent:
        """The zone's onset: the first one's, under the zone's name."""
        first = self.first
        return first.model_copy(
            update={
                "event_id": event_id(zone, int(first.epoch, 16), first.label, first.onset_sample),
                "stream": zone,
                "heard_by": self.heard_by,
            }
        )

    def offset_of(self, zone: str) -> SoundEvent:
        """The zone's offset, on the sample clock of the first."""
        first = self.first
        length_s = ((self.offset_time or first.onset_time) - first.onset_time).total_seconds()
        n_samples = max(0, round(length_s * first.sample_rate_hz))
        length = timedelta(microseconds=samples_to_ns(n_samples, first.sample_rate_hz) // 1000)
        return self.onset_of(zone).model_copy(
            update={
                "phase": "offset",
                "offset_sample": first.onset_sample + n_samples,
                "offset_time": first.onset_time + length,
                "score_peak": self.score_peak,
                "score_mean": round(min(1.0, self.score_s / self.length_s), 4),
                "level_db": self.level_db,
                "reason": self.reason,
                "decided_at": datetime.now(UTC),
                "delay_ms": None,
            }
        )


_SOUNDS = TypeAdapter(list[Sound])


class Fusion:
    """The sounds of one zone and label that are not told of to their end. The first is being told, the others wait.

    Args:
        zone: Name of the zone.
        window_ns: How far apart in time what is heard may be and still be one sound.
        stored: What `stored` gave; None for none.
    """

    def __init__(self, zone: str, window_ns: int, stored: str | None) -> None:
        self._zone = zone
        self._window_ns = window_ns
        self._window = timedelta(microseconds=window_ns // 1000)
        self._sounds = [] if stored is None else _SOUNDS.validate_json(stored)

    @property
    def stored(self) -> str | None:
        """The sounds as JSON; None for none."""
        return _SOUNDS.dump_json(self._sounds).decode() if self._sounds else None

    @property
    def due_ns(self) -> int | None:
        """When `tell` has more to tell though no event came, monotonic; None for never."""
        if not self._sounds or self._sounds[0].open:
            return None
        return self._sounds[0].quiet_ns + self._window_ns

    def take(self, events: Sequence[SoundEvent], now_ns: int) -> list[SoundEvent]:
        """Note what streams of the zone hear, in any order but that of each stream; what can be told of then.

        Who begins a sound is known when all ``events`` are.
        """
        told: list[SoundEvent] = []
        for event in sorted(events, key=lambda event: (event.offset_time or event.onset_time, event.phase == "offset")):
            if event.offset_time is not None:
                self._end(event, event.offset_time, now_ns)
                continue
            if len(self._sounds) == MOST_SOUNDS:
                told += self.tell(now_ns)
            self._sound_for(event).begin(event)
        return told + self.tell(now_ns)

    def _sound_for(self, onset: SoundEvent) -> Sound:
        for sound in self._sounds:
            if sound.fits(onset.onset_time, self._window):
                return sound
        if len(self._sounds) < MOST_SOUNDS:
            self._sounds.append(Sound(first=onset))
        return self._sounds[-1]

    def _end(self, event: SoundEvent, offset_time: datetime, now_ns: int) -> None:
        """Nothing where the event began before its stream was in the zone."""
        for sound in self._sounds:
            if event.event_id in sound.open:
                sound.end(event, offset_time, now_ns)

    def strangers(self, streams: Mapping[str, str]) -> list[SoundEvent]:
        """Onsets of open events of streams that are not in the zone, by the zone of each stream."""
        onsets = [onset for sound in self._sounds for onset in sound.open.values()]
        return [onset for onset in onsets if streams.get(onset.stream) != self._zone]

    def interrupt(self, onset: SoundEvent, offset_time: datetime, now_ns: int) -> None:
        """Nothing more will come of an event."""
        self._end(onset.model_copy(update={"reason": "interrupted"}), max(offset_time, onset.onset_time), now_ns)

    def tell(self, now_ns: int, *, is_last: bool = False) -> list[SoundEvent]:
        """What can be told of now.

        An onset at once; an offset when nobody heard the sound for the window, when what came later shows that it is
        over, or, with ``is_last``, because nothing will come for now.
        """
        told: list[SoundEvent] = []
        while self._sounds:
            self._sounds.sort(key=lambda sound: (not sound.is_told, sound.first.onset_time))
            sound = self._sounds[0]
            if not sound.is_told:
                told.append(sound.onset_of(self._zone))
                sound.is_told = True
            if sound.open or not (is_last or self._is_due(now_ns) or self._is_passed(sound)):
                break
            told.append(sound.offset_of(self._zone))
            del self._sounds[0]
        return told

    def _is_due(self, now_ns: int) -> bool:
        """A clock that is behind began anew: the machine did."""
        quiet_ns = self._sounds[0].quiet_ns
        return not quiet_ns <= now_ns < quiet_ns + self._window_ns

    def _is_passed(self, sound: Sound) -> bool:
        return any(sound.is_before(other.first.onset_time, self._window) for other in self._sounds[1:])
