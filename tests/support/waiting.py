"""Waiting for what other threads and processes do, by looking at what they left behind."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

DEADLINE_S = 60.0
"""What hangs has hung for so long: generous, since machines that test are busy."""


def wait_for(condition: Callable[[], bool], what: str = "what was waited for") -> None:
    """Look until ``condition`` holds; fail after the deadline."""
    give_up_s = time.monotonic() + DEADLINE_S
    tick = threading.Event()
    while not condition():
        if time.monotonic() >= give_up_s:
            pytest.fail(f"never came: {what}")
        tick.wait(0.005)


def is_running(pid: int) -> bool:
    """Whether a process is there and more than a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
