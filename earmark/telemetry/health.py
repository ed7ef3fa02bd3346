"""Whether a process is alive and ready, as its main loop sees it."""

import time
from collections.abc import Callable

STALE_AFTER_S = 10.0


class Health:
    """What ``/healthz`` and ``/readyz`` answer. Written by the main loop, read by the telemetry server's threads.

    Args:
        clock: Monotonic seconds.
        stale_after_s: How long the main loop may be silent.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, stale_after_s: float = STALE_AFTER_S) -> None:
        self._clock = clock
        self._stale_after_s = stale_after_s
        self._started_s = self._alive_s = clock()
        self.ready = False
        """Whether the process does its work: its sockets are bound, its model is loaded."""

    def alive(self) -> None:
        """Note that the main loop turns."""
        self._alive_s = self._clock()

    @property
    def is_healthy(self) -> bool:
        """Whether the main loop turned lately."""
        return self._clock() - self._alive_s < self._stale_after_s

    def report(self) -> dict[str, bool | float]:
        """The whole answer, for JSON."""
        now_s = self._clock()
        return {
            "healthy": self.is_healthy,
            "ready": self.ready,
            "silent_s": round(now_s - self._alive_s, 3),
            "uptime_s": round(now_s - self._started_s, 3),
        }
