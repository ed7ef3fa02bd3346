from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark.outbox.config import OutboxConfig
from tests.publishers.publishing import Engine, Service


@pytest.fixture
def outbox(tmp_path: Path) -> OutboxConfig:
    return OutboxConfig(path=tmp_path / "o.db")


@pytest.fixture
def engine(outbox: OutboxConfig) -> Iterator[Engine]:
    engine = Engine(outbox)
    yield engine
    engine.close()


@pytest.fixture
def service(outbox: OutboxConfig) -> Iterator[Service]:
    service = Service(outbox)
    yield service
    service.stop()
