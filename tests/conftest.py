"""Fixtures that many tests share."""

import faulthandler
import logging
import signal
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
def _own_process() -> Iterator[None]:
    """A command configures its process's logs and signals; here many share one process, and pytest's stderr changes."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in signals.items():
        signal.signal(number, handler)
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def pytest_configure() -> None:
    """A shell has what it runs in the background ignore SIGINT, and children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """A failed test may leave a thread behind: the run then ends with where that thread stands, and does not hang.

    A worker of pytest-xdist waits for the others here, and is killed if it does not end by itself.
    """
    if not hasattr(config, "workerinput"):
        faulthandler.dump_traceback_later(60, exit=True)
