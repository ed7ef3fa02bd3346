"""Which sounds are on: the newest state only, and never an old one as if it were new."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from earmark.contracts.events import SoundEvent
from publishers.filters import BOTH_PHASES
from publishers.mqtt.config import MqttConfig
from publishers.mqtt.topics import OFF, ON, Topics, segment


@dataclass
class _Sound:
    """An event that has not ended. ``is_on`` is None until the backlog that it came with is over."""

    event_id: str
    onset_time: datetime
    is_on: bool | None


class States:
    """The state of every label of every stream, as topics and payloads.

    Args:
        config: The sink's.
    """

    def __init__(self, config: MqttConfig) -> None:
        self._config = config
        self._topics = Topics(config.prefix)
        # An offset always ends its event; how long that was and what else it was is no matter.
        self._onsets = config.filter.model_copy(update={"phases": BOTH_PHASES, "min_duration_s": 0.0})
        self._sounds: dict[tuple[str, str], _Sound] = {}
        self._chosen = () if config.homeassistant is None else config.homeassistant.labels
        self._known: dict[str, set[str]] = defaultdict(lambda: set(self._chosen))
        self.last: dict[str, SoundEvent] = {}
        """The newest event of each stream."""
        self.muted: set[str] = set()
        """Streams that are off, whatever is heard there."""

    def add_stream(self, stream: str) -> None:
        """A stream there is, though nothing was heard yet."""
        _ = self._known[stream]

    def rebuild(self, events: Iterable[SoundEvent]) -> None:
        """Begin with events that the broker was told of in an earlier life; what is open among them was on."""
        self._sounds.clear()
        for event in events:
            self.take(event, is_live=False)
        for sound in self._sounds.values():
            sound.is_on = True

    def take(self, event: SoundEvent, *, is_live: bool) -> None:
        """Note an event; the states of its stream and label may be others now.

        Args:
            event: The next one, whatever the filter says of it.
            is_live: Whether it is no part of a backlog, whose own end decides.
        """
        if event.stream not in self.muted:
            self.last[event.stream] = event
        key = (event.stream, event.label)
        self._known[event.stream].add(event.label)
        if event.phase == "onset":
            if self._onsets.takes(event):
                self._sounds[key] = _Sound(
                    event.event_id, event.onset_time, self._is_fresh(event.onset_time) if is_live else None
                )
        elif key in self._sounds and self._sounds[key].event_id == event.event_id:
            del self._sounds[key]

    def doubt(self) -> None:
        """Which sounds are on is not known any more: none is, until it begins anew."""
        self._sounds.clear()

    def settle(self) -> None:
        """The backlog is over: what is still open and new enough is on."""
        for sound in self._sounds.values():
            if sound.is_on is None:
                sound.is_on = self._is_fresh(sound.onset_time)

    def _is_fresh(self, onset_time: datetime) -> bool:
        return (datetime.now(UTC) - onset_time).total_seconds() <= self._config.max_state_age_s

    def wanted(self, stream: str, label: str) -> tuple[str, str]:
        """Topic and payload of one label."""
        return self._topics.of(stream, segment(label)), self._state(stream, label)

    def wanted_of(self, stream: str) -> Iterator[tuple[str, str]]:
        """Topics and payloads of a whole stream."""
        for label in sorted(self._known[stream]):
            yield self.wanted(stream, label)

    @property
    def streams(self) -> list[str]:
        """Every stream that was ever heard or told of."""
        return sorted(self._known)

    def _state(self, stream: str, label: str) -> str:
        sound = self._sounds.get((stream, label))
        return ON if sound is not None and sound.is_on and stream not in self.muted else OFF
