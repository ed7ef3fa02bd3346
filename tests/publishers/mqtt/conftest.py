from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from earmark.outbox.config import OutboxConfig
from publishers.config import JsonlConfig, PublishersConfig
from publishers.http.about import About
from tests.publishers.mqtt.broker import Broker, Watcher
from tests.publishers.mqtt.sounds import Sounds
from tests.publishers.publishing import Service

Start = Callable[..., Service]
"""Starts publishers with these settings of ``publishers.mqtt``, and waits until they are connected."""


@pytest.fixture
def sounds(outbox: OutboxConfig) -> Iterator[Sounds]:
    sounds = Sounds(outbox)
    yield sounds
    sounds.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder).start()
    yield broker
    broker.stop()


@pytest.fixture
def watch(broker: Broker) -> Iterator[Callable[..., Watcher]]:
    """Subscribes to a topic, under a name."""
    watchers: list[Watcher] = []

    def make(topic: str = "#", name: str = "watcher", **options: int) -> Watcher:
        watchers.append(Watcher(broker, topic, name, **options))
        return watchers[-1]

    yield make
    for watcher in watchers:
        watcher.close()


@pytest.fixture
def start(outbox: OutboxConfig, broker: Broker, tmp_path: Path) -> Iterator[Start]:
    services: list[Service] = []

    def make(*, is_connected: bool = True, about: About | None = None, **settings: Any) -> Service:
        service = Service(outbox, about=about)
        settings = {"host": broker.host, "port": broker.port, **settings}
        service.config = PublishersConfig.model_validate(
            {"zeromq": None, "http": None, "jsonl": JsonlConfig(path=tmp_path / "events.jsonl"), "mqtt": settings}
        )
        services.append(service)
        service.start()
        if is_connected:
            watcher = Watcher(broker, f"{settings.get('prefix', 'earmark')}/available", f"starter-{len(services)}")
            watcher.wait(lambda watcher: watcher.messages[-1:] and watcher.messages[-1].payload == "online")
            watcher.close()
        return service

    yield make
    for service in services:
        service.stop()
