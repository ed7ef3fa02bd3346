"""When everything was told: every sink's cursor is at the newest event."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from earmark.app.config import ServiceConfig
from earmark.app.service import sinks_are_drained
from earmark.outbox import Cursors, OutboxReader
from earmark.outbox.config import OutboxConfig
from tests.publishers.publishing import Engine

SINKS: dict[str, tuple[str, dict[str, Any]]] = {
    "zeromq": ("zeromq", {"zeromq": {}}),
    "jsonl": ("stdout", {"jsonl": {"path": "-"}}),
    "mqtt": ("mqtt", {"mqtt": {"host": "127.0.0.1"}}),
    "clips": ("clips", {"clips": {"folder": "clips"}}),
    "webhook": ("webhook.door", {"webhooks": {"door": {"url": "http://127.0.0.1/"}}}),
    "notification": ("notify.me", {"notifications": {"me": {"urls": ["json://127.0.0.1"]}}}),
}


@pytest.mark.parametrize("kind", SINKS)
def test_each_sink_is_waited_for(tmp_path: Path, kind: str):
    name, sinks = SINKS[kind]
    outbox = OutboxConfig(path=tmp_path / "o.db")
    config = ServiceConfig.model_validate({"publishers": {"zeromq": None, "http": None, **sinks}, "outbox": outbox})
    with (
        closing(Engine(outbox)) as engine,
        closing(OutboxReader(outbox.path)) as reader,
        closing(Cursors(outbox.cursors_path)) as cursors,
    ):
        engine.commit(n=3)
        cursors.set(name, reader.outbox_id, 2)
        assert not sinks_are_drained(config)
        cursors.set(name, reader.outbox_id, 3)
        assert sinks_are_drained(config)
