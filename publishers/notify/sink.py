"""The sink of one service that people read: it may be told late or not at all, but never of an old siren."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog

from earmark.contracts.events import SoundEvent
from earmark.outbox import OutboxReader, StoredEvent
from earmark.outbox.config import OutboxConfig
from earmark.telemetry import metrics
from publishers.notify.config import NotifyConfig
from publishers.notify.memory import Memory, memory_path
from publishers.notify.messenger import Messenger, notify_sink_names, read_urls
from publishers.notify.template import fields_of, spoken
from publishers.sinks import SinkError
from publishers.turns import Turns

_MOST_TOLD = 20
"""Kinds of sound that a summary names."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class NotifySink:
    """Tells one service.

    Args:
        name: Of the sink.
        config: The notification's.
        messenger: Reaches the service.
        where: The service's name in the configuration, for messages.
        memory: What it told and held back before.
        clock: Monotonic seconds.
        now: UTC.
    """

    def __init__(
        self,
        name: str,
        config: NotifyConfig,
        messenger: Messenger,
        where: str,
        memory: Memory,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.name = name
        self._config = config
        self._messenger = messenger
        self._where = where
        self._now = now
        self._turns = Turns(clock)
        self._memory = memory
        self._quiet_ended: datetime | None = None

    def resume(self, outbox: OutboxReader, cursor: int) -> int:
        """From the cursor, or from where its memory ends; what is too old by now is only counted."""
        self._turns.forget()
        return self._memory.cursor(outbox.outbox_id, cursor)

    def publish(self, events: Sequence[StoredEvent]) -> int:
        """Tell for half a second, and one event at least.

        Raises:
            SinkError: The service did not take the first; it is tried again until it is too old.
        """
        through = self._turns.take(events, self._take_first)
        self._memory.save(through)
        return through

    def _take_first(self, stored: Sequence[StoredEvent]) -> int:
        event = self._config.filter.read(stored[0])
        if event is not None:
            reason = self._reason_to_hold(event)
            if reason is None:
                self._tell(event)
            else:
                metrics.SINK_HELD_BACK.labels(self.name, reason).inc()
        return stored[0].seq

    def _reason_to_hold(self, event: SoundEvent) -> str | None:
        if (self._now() - event.decided_at).total_seconds() > self._config.max_age_s:
            return "too_old"
        quiet = self._config.quiet_hours
        if quiet is not None and event.label not in quiet.always and self._is_quiet():
            if quiet.summary and event.phase == self._config.filter.phases[0]:
                self._memory.held[event.stream, event.label] += 1
            return "quiet_hours"
        return "cooldown" if self._memory.was_told(event) else None

    def _is_quiet(self) -> bool:
        quiet = self._config.quiet_hours
        return quiet is not None and quiet.hold_back(self._now().astimezone(self._config.quiet_zone))

    def _tell(self, event: SoundEvent) -> None:
        fields = fields_of(event, self._config.zone)
        self._send(self._config.title.format(**fields), self._config.body.format(**fields))
        self._memory.note_told(event)

    def _send(self, title: str, body: str) -> None:
        if not self._messenger.send(title, body):
            raise SinkError(f"{self._where}: the service did not take it; the command `apprise -vv URL` tells why")

    def tick(self, seq: int) -> None:
        """Tell what quiet hours held back, once they are over.

        Raises:
            SinkError: The service did not take it; it is tried again until it is too old.
        """
        held = self._memory.held
        if not held or self._is_quiet():
            self._quiet_ended = None
            return
        self._quiet_ended = self._quiet_ended or self._now()
        if (self._now() - self._quiet_ended).total_seconds() <= self._config.max_age_s:
            self._send("Quiet hours are over", _summary(held))
        else:
            _log.warning("summary of quiet hours given up", sink=self.name)
        held.clear()
        self._memory.save(seq)

    def close(self) -> None:
        """Nothing to give back: each message had a connection of its own."""


def _summary(held: Counter[tuple[str, str]]) -> str:
    told = held.most_common(_MOST_TOLD)
    lines = [f"{spoken(label)} at {stream}: {count}" for (stream, label), count in told]
    rest = held.total() - sum(count for _, count in told)
    return "\n".join([*lines, *([f"and {rest} more"] if rest else [])])


def open_notifications(name: str, config: NotifyConfig, outbox: OutboxConfig) -> list[NotifySink]:
    """A sink for each service of a notification, so that one that is down holds no other up.

    Args:
        name: The notification's, in the configuration.
        config: The notification's.
        outbox: Where events come from; what must outlive a restart lies beside it.

    Raises:
        ConfigError: Apprise is missing, or an address cannot be used.
    """
    found = read_urls(config, f"publishers.notifications.{name}")
    named = zip(notify_sink_names(name, len(found)), found, strict=True)
    return [
        NotifySink(sink, config, Messenger(url, where), where, Memory(memory_path(outbox, sink), config.cooldown_s))
        for sink, (url, where) in named
    ]
