"""The sink that keeps an event's scores, and its sound.

It hears what engines show all the time and remembers the last seconds. An event waits until what is wanted of it has
come; then its files are written and it is done with. A restart forgets what was remembered, so an event that waited for
it has no clip, and none of the stretch before it.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from earmark.contracts.errors import ConfigError, OutboxError
from earmark.contracts.events import SoundEvent
from earmark.outbox import OutboxReader, StoredEvent
from earmark.telemetry import metrics
from publishers.clips.config import ClipsConfig
from publishers.clips.cutting import Cutter
from publishers.clips.files import ClipFiles
from publishers.clips.index import ClipFile
from publishers.clips.memory import Memory
from publishers.clips.retention import ClipRetention
from publishers.http.about import About
from publishers.monitor import Monitor

QUIET_S = 30.0
"""An event of a stream of which nothing comes for so long is written with what is known."""
MOST_WAITING = 1000
"""Events that wait; with more, the oldest is written with what is known."""
_SLACK_S = 10.0
"""What is remembered beyond a clip, for an event to be decided on and to come here."""
_PRUNE_S = 30.0
_DAY_S = 86_400.0

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass
class _Waiting:
    """An event as told of last, and when it was told of first."""

    event: SoundEvent
    since_s: float


class ClipsSink:
    """Keeps what is around events in files.

    Args:
        config: What is kept, and for how long.
        monitor: Where scores and audio come from.
        about: The model's labels and thresholds, and which streams allow clips; a reload changes it in place.
        retention: Deletes what is old; owned.
        streams: Those whose audio is listened to.
        clock: Monotonic seconds.

    Raises:
        ConfigError: The folder cannot be used.
    """

    name = "clips"

    def __init__(
        self,
        config: ClipsConfig,
        monitor: Monitor,
        about: About,
        retention: ClipRetention,
        *,
        streams: Collection[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._clock = clock
        self._files = ClipFiles(config.folder)
        self._files.check()
        self._retention = retention
        self._cutter = Cutter(about, config.forbid_labels)
        self._memory = Memory(config.max_s + 2 * self._cutter.margin_s + _SLACK_S, clock)
        self._waiting: dict[str, _Waiting] = {}
        self._settled: deque[str] = deque(maxlen=MOST_WAITING)
        self._prune_due_s = 0.0
        self._ends = [
            monitor.watch_scores(self._memory.take_scores),
            *(monitor.watch_audio(stream, self._memory.take_audio) for stream in streams),
        ]

    def resume(self, outbox: OutboxReader, cursor: int) -> int:
        """From the cursor; takes stock of the folder, which a sink that this one follows has left only now."""
        del outbox
        try:
            self._retention.take_stock()
        except (OSError, OutboxError) as error:
            _log.warning("no stock was taken of the clips' folder", error=str(error))
        return cursor

    def publish(self, events: Sequence[StoredEvent]) -> None:
        """Let events wait for what comes behind them."""
        for event in [stored.event for stored in events]:
            try:
                self._wait_for(event)
            except (ConfigError, OSError) as error:  # a name that is none for a file; a folder that has gone bad
                _log.warning("clip not written", event_id=event.event_id, stream=event.stream, error=str(error))
                metrics.CLIPS.labels("failed").inc()

    def _wait_for(self, event: SoundEvent) -> None:
        waiting = self._waiting.get(event.event_id)
        if waiting is not None:
            waiting.event = event
        elif event.event_id not in self._settled and not self._files.has(event):
            if len(self._waiting) >= MOST_WAITING:
                self._settle(next(iter(self._waiting)))
            self._waiting[event.event_id] = _Waiting(event, self._clock())

    def tick(self, seq: int) -> None:
        """Write what is ready; delete what is too old."""
        del seq
        for event_id in [event_id for event_id, waiting in self._waiting.items() if self._is_ready(waiting)]:
            self._settle(event_id)
        if (now_s := self._clock()) >= self._prune_due_s and not self._prune():
            self._prune_due_s = now_s + _PRUNE_S

    def _prune(self) -> bool:
        """Whether there may be more to delete."""
        self._memory.forget(_DAY_S)
        config = self._config
        try:
            return self._retention.prune(config.max_age_days * _DAY_S, int(config.max_size_mb * (1 << 20))) > 0
        except (OSError, OutboxError) as error:
            _log.warning("old clips were not deleted", error=str(error))
            return False

    def close(self) -> None:
        """Write what waits, as far as it is known."""
        for event_id in list(self._waiting):
            self._settle(event_id)
        for end in self._ends:
            end()
        self._retention.close()

    def _is_ready(self, waiting: _Waiting) -> bool:
        event = waiting.event
        end_sample, came_s = self._memory.end(event.stream, event.epoch)
        if self._clock() - max(came_s, waiting.since_s) >= QUIET_S:
            return True
        later = 0 if _is_last(event) else self._in_samples(self._cutter.margin_s, event)
        return end_sample >= self._extent(event)[1] + later

    def _extent(self, event: SoundEvent) -> tuple[int, int]:
        """What is wanted of an event, in samples."""
        config = self._config
        first = max(0, event.onset_sample - self._in_samples(config.before_s, event))
        end = first + self._in_samples(config.max_s, event)
        if event.offset_sample is None:
            return first, end
        after = 0 if _is_last(event) else self._in_samples(config.after_s, event)
        return first, min(end, event.offset_sample + after)

    @staticmethod
    def _in_samples(seconds: float, event: SoundEvent) -> int:
        return round(seconds * event.sample_rate_hz)

    def _settle(self, event_id: str) -> None:
        event = self._waiting.pop(event_id).event
        self._settled.append(event_id)
        try:
            outcome = self._keep(event)
        except OSError as error:
            _log.warning("clip not written", event_id=event_id, stream=event.stream, error=str(error))
            outcome = "failed"
        metrics.CLIPS.labels(outcome).inc()

    def _keep(self, event: SoundEvent) -> str:
        """Write what is known of an event; what became of its clip."""
        first, end = self._extent(event)
        margin = self._in_samples(self._cutter.margin_s, event)
        around = self._memory.excerpt(event.stream, event.epoch, first - margin, end + margin)
        kept = around and self._cutter.cut(event, first, end, around)
        if kept is None:
            return "gone"
        self._count(self._files.store(event, kept.scores, kept.pcm))
        return kept.scores.no_clip or "stored"

    def _count(self, written: list[ClipFile]) -> None:
        try:
            self._retention.note(written)
        except OutboxError as error:
            _log.warning("a clip's age counts from the next look at the folder", error=str(error))


def _is_last(event: SoundEvent) -> bool:
    """Whether nothing comes behind it."""
    return event.reason in ("end", "interrupted")
