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


@pytest.fixture
def jsonl_service(outbox: OutboxConfig, tmp_path: Path) -> Iterator[Service]:
    """Publishers that also write ``events.jsonl``."""
    service = Service(outbox, jsonl=tmp_path / "events.jsonl")
    yield service
    service.stop()
