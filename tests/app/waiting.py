"""Waiting for what children do, by looking at what they left behind, never blindly."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_S = 20.0


def until(condition: Callable[[], bool], what: str) -> None:
    """Look until ``condition`` holds; fail after a deadline."""
    give_up_s = time.monotonic() + DEADLINE_S
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < give_up_s, f"never came: {what}"
        tick.wait(0.01)


def is_running(pid: int) -> bool:
    """Whether a process is there and more than a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


class Diary:
    """A file that children append lines to, each in one write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def count(self, line: str) -> int:
        return self.lines.count(line)
