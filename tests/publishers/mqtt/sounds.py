"""Sounds that begin and end when a test says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import zmq

from earmark.contracts.events import SoundEvent, event_id
from earmark.contracts.monitor import StreamStatus
from earmark.outbox import StreamCommit
from earmark.outbox.config import OutboxConfig
from earmark.outbox.monitor import MonitorSender
from tests.publishers.publishing import Engine
from tests.support.events import EPOCH, make_event


class Sounds(Engine):
    """An engine whose events are told one by one."""

    def begin(self, stream: str, label: str, *, age_s: float = 0.0, level_db: float | None = -20.0) -> SoundEvent:
        """A sound that began ``age_s`` ago."""
        number = next(self._numbers)
        onset = make_event(number, stream, label)
        began = datetime.now(UTC) - timedelta(seconds=age_s)
        onset = onset.model_copy(
            update={
                "event_id": event_id(stream, EPOCH, label, number),
                "onset_time": began,
                "decided_at": began,
                "level_db": level_db,
            }
        )
        self.tell(onset)
        return onset

    def end(self, onset: SoundEvent, length_s: float = 0.5) -> SoundEvent:
        offset = onset.model_copy(
            update={
                "phase": "offset",
                "offset_sample": onset.onset_sample + int(length_s * onset.sample_rate_hz),
                "offset_time": onset.onset_time + timedelta(seconds=length_s),
            }
        )
        self.tell(offset)
        return offset

    def bark(self, stream: str = "gate", label: str = "dog", *, age_s: float = 0.0) -> None:
        self.end(self.begin(stream, label, age_s=age_s))

    def tell(self, event: SoundEvent) -> None:
        revision = self._revisions.get(event.stream, 0)
        assert not self._outbox.commit([StreamCommit(event.stream, revision, None, [event])])
        self._revisions[event.stream] = revision + 1
        self._waker.wake()


def status(stream: str = "gate", *, up: bool = True, level_db: float | None = -34.25) -> StreamStatus:
    return StreamStatus(stream=stream, up=up, coverage=0.98765, level_db=level_db if up else None, lag_s=0.1234)


class Shown:
    """The engine's end of the monitor; what is set here is told again and again."""

    def __init__(self, outbox: OutboxConfig, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self._sender = MonitorSender(context, outbox.path)

    def tell(self, *statuses: StreamStatus) -> None:
        self._sender.asked()
        self._sender.send_statuses(statuses)

    def close(self) -> None:
        self._sender.close()


@contextmanager
def shown(outbox: OutboxConfig) -> Iterator[Shown]:
    with zmq.Context() as context:
        sender = Shown(outbox, context)
        try:
            yield sender
        finally:
            sender.close()
