"""A webhook's sink in its worker, as the publishers run it."""

from types import TracebackType
from typing import Self

from earmark.contracts.events import SoundEvent
from earmark.outbox import OutboxReader
from earmark.outbox.config import OutboxConfig
from earmark.telemetry.metrics import REGISTRY
from publishers.deadletters import DeadLetter, DeadLetters, DeadLettersConfig, dead_letters_path
from publishers.webhook.config import WebhookConfig
from publishers.webhook.sink import WebhookSink
from publishers.worker import Worker
from tests.support.waiting import DEADLINE_S


class Hook:
    """Delivers while the block lasts."""

    def __init__(self, outbox: OutboxConfig, url: str, **options: object) -> None:
        self._outbox = outbox
        self._config = WebhookConfig.model_validate({"url": url, **options})
        self.letters = DeadLetters(dead_letters_path(outbox), DeadLettersConfig())
        """For the test's own thread."""

    def __enter__(self) -> Self:
        own = DeadLetters(dead_letters_path(self._outbox), DeadLettersConfig())
        self.sink = WebhookSink("ops", self._config, own)
        self.worker = Worker(self.sink, self._outbox)
        self.worker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.worker.stop()
        assert self.worker.join(DEADLINE_S)
        self.sink.close()
        self.letters.close()
        if self.worker.error is not None:
            raise self.worker.error

    def dead(self) -> list[DeadLetter]:
        return self.letters.read()


def events_of(outbox: OutboxConfig) -> list[SoundEvent]:
    """All that lie in the outbox."""
    reader = OutboxReader(outbox.path)
    try:
        return [stored.event for stored in reader.read(0, 10_000)]
    finally:
        reader.close()


def metric(name: str, sink: str = "webhook.ops", **labels: str) -> float:
    return REGISTRY.get_sample_value(f"earmark_{name}", {"sink": sink, **labels}) or 0.0
