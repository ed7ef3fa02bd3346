"""Fixtures of the command line's and the supervisor's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark.app.process import Signals
from tests.app.traces import Diary


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "diary")


@pytest.fixture
def stop() -> Iterator[Signals]:
    signals = Signals()
    yield signals
    signals.set()
