"""Fixtures that many tests share."""

import faulthandler
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from earmark.contracts.bundle import Bundle, load_bundle
from tests.support.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small bundle of `tests.support.tiny_bundle`, on disk."""
    return load_bundle(write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The labelled audio beside the checkout."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the labelled audio is not beside this checkout")
    return folder


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


def pytest_unconfigure() -> None:
    """A failed test may leave a thread behind: the run then ends with where that thread stands, and does not hang."""
    faulthandler.dump_traceback_later(60, exit=True)
