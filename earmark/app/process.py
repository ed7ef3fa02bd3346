"""What streamer, engine and publishers share as processes: logs, telemetry, signals, the word to their supervisor."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Literal, Protocol, TypeAlias

from earmark.telemetry.config import TelemetryConfig
from earmark.telemetry.health import Health
from earmark.telemetry.logs import configure_logging
from earmark.telemetry.metrics import RESTARTS
from earmark.telemetry.notify import notify
from earmark.telemetry.server import TelemetryServer

LIFELINE_VARIABLE = "EARMARK_LIFELINE"
"""Names the inherited descriptor of a pipe whose other end the supervisor holds."""
RESTARTS_VARIABLE = "EARMARK_RESTARTS"
"""How often the supervisor started this process again; the process itself exposes it."""

ProcessName: TypeAlias = Literal["streamer", "engine", "publishers"]
_NOTIFY_EVERY_S = 1.0
_ORPHAN_STOPS_WITHIN_S = 5.0


class Serving(Protocol):
    """What each of the three packages offers."""

    def run(self, stop: threading.Event, on_ready: Callable[[], None], on_alive: Callable[[], None]) -> None:
        """Serve until ``stop`` is set or the work is done."""
        ...


def run_process(name: ProcessName, telemetry: TelemetryConfig, make: Callable[[], Serving]) -> None:
    """Run one of the three until SIGTERM, SIGINT or the end of its work.

    Args:
        name: Which one.
        telemetry: Where it tells about itself.
        make: Builds it; called once logs and health are up.

    Raises:
        EarmarkError: It cannot be built or cannot serve.
    """
    stop = stop_on_signals()
    follow_supervisor()
    configure_logging(name)
    RESTARTS.labels(name).inc(float(os.environ.get(RESTARTS_VARIABLE, "0")))
    health = Health()
    with TelemetryServer(getattr(telemetry, name), health, where=f"telemetry.{name}"):
        pulse = Pulse(health)
        make().run(stop, on_ready=pulse.ready, on_alive=pulse.alive)
    notify("STOPPING=1")
    if stop.signal is not None:
        # Who was told to end ends of it, so that nobody takes it for one whose work is done.
        signal.signal(stop.signal, signal.SIG_DFL)
        os.kill(os.getpid(), stop.signal)


class Stop(threading.Event):
    """Set by a signal, which it remembers."""

    signal: int | None = None


class Pulse:
    """Passes a main loop's sign of life on, to the health page at once and to the supervisor once a second."""

    def __init__(self, health: Health, clock: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._clock = clock
        self._due_s = clock()

    def ready(self) -> None:
        """The process does its work now."""
        self._health.ready = True
        self._health.alive()
        notify("READY=1\nWATCHDOG=1")

    def alive(self) -> None:
        """The main loop turned."""
        self._health.alive()
        if (now_s := self._clock()) >= self._due_s:
            self._due_s = now_s + _NOTIFY_EVERY_S
            notify("WATCHDOG=1")


def stop_on_signals() -> Stop:
    """An event that SIGTERM and SIGINT set. For the main thread."""
    stop = Stop()

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.signal = number
        # The handler may interrupt this very event's own lock, so another thread sets it.
        threading.Thread(target=stop.set, name="stop", daemon=True).start()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def follow_supervisor() -> None:
    """End this process when its supervisor is gone, however that died: first by SIGTERM, then for sure.

    The supervisor holds the writing end of a pipe and never writes, so reading returns when it is dead.
    """
    lifeline = os.environ.pop(LIFELINE_VARIABLE, None)
    if lifeline is None:
        return

    def follow() -> None:
        os.read(int(lifeline), 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_ORPHAN_STOPS_WITHIN_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, name="lifeline", daemon=True).start()
