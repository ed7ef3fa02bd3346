from collections.abc import Callable, Iterator
from typing import Any

import pytest

from earmark.outbox.config import OutboxConfig
from publishers.clips.config import ClipsConfig
from publishers.http.about import About
from publishers.http.config import HttpConfig
from tests.publishers.http.serving import Client, http_config
from tests.publishers.publishing import Service


@pytest.fixture
def serve(outbox: OutboxConfig) -> Iterator[Callable[..., Service]]:
    """Starts publishers with HTTP; ends them."""
    begun: list[Service] = []

    def serve(
        config: HttpConfig | None = None, about: About | None = None, clips: ClipsConfig | None = None
    ) -> Service:
        service = Service(outbox, http=config or http_config(), about=about, clips=clips)
        begun.append(service)
        return service.start()

    yield serve
    for service in begun:
        service.stop()


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Opens clients; closes them."""
    opened: list[Client] = []

    def connect(service: Service, **options: Any) -> Client:
        assert service.config.http is not None
        opened.append(Client(service.config.http, **options))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()
