"""Fixtures of the command line's and the supervisor's tests."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.traces import Diary


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "diary")


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()
