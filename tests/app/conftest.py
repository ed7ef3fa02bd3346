"""Fixtures of the command line's and the supervisor's tests."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.app.waiting import Diary


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "diary")


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A command configures its process's logs; here many commands share one process, and pytest's stderr changes."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
