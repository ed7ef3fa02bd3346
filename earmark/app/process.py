"""What streamer, engine and publishers share as processes: logs, telemetry, signals, the word to their supervisor."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, TypeVar

import structlog

from earmark.app.lifeline import follow_supervisor
from earmark.contracts.errors import EarmarkError
from earmark.telemetry.health import Health
from earmark.telemetry.logs import configure_logging
from earmark.telemetry.metrics import LAST_RELOAD, RELOADS
from earmark.telemetry.notify import notify, watchdog_period_s
from earmark.telemetry.server import TelemetryServer

if TYPE_CHECKING:  # a supervisor and its watchers need not load what a whole configuration needs
    from earmark.app.config import ServiceConfig
    from earmark.app.live_config import LiveConfig

RELOAD_DONE, RELOAD_REFUSED = "X_EARMARK_RELOAD=done", "X_EARMARK_RELOAD=refused"
"""How a reload ended, to the supervisor; systemd passes over what begins with ``X_``."""

ProcessName: TypeAlias = Literal["streamer", "engine", "publishers"]
_NOTIFY_EVERY_S = 1.0

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Serving(Protocol):
    """What each of the three packages offers."""

    def run(self, stop: threading.Event, on_ready: Callable[[], None], on_alive: Callable[[], None]) -> None:
        """Serve until ``stop`` is set or the work is done; ``on_alive`` may change what is served."""
        ...


S = TypeVar("S", bound=Serving)


def run_process(
    name: ProcessName,
    live: "LiveConfig",
    make: "Callable[[ServiceConfig], S]",
    reload: "Callable[[S, ServiceConfig], None]",
) -> None:
    """Run one of the three until SIGTERM, SIGINT or the end of its work.

    Args:
        name: Which one.
        live: What it runs with.
        make: Builds it; called once logs and health are up.
        reload: Changes it to another configuration, or raises an `EarmarkError` and changes nothing; called between
            two turns of its main loop.

    Raises:
        EarmarkError: It cannot be built or cannot serve.
    """
    signals = follow_signals()
    follow_supervisor()
    telemetry = live.config.telemetry
    configure_logging(name, telemetry.log_level)
    health = Health()
    with TelemetryServer(getattr(telemetry, name), health, where=f"telemetry.{name}"):
        service = make(live.config)
        reloads = Reloads(name, live, signals, lambda config: reload(service, config))
        pulse = Pulse(health, reloads.turn)
        service.run(signals, on_ready=pulse.ready, on_alive=pulse.alive)
    notify("STOPPING=1")
    if signals.ended_by is not None:
        # Who was told to end ends of it, so that nobody takes it for one whose work is done.
        _die_of(signals.ended_by)


class Signals(threading.Event):
    """What a process was told by signals. The event is set by SIGTERM and SIGINT."""

    ended_by: int | None = None
    """Which of them came."""
    at_once = False
    """Whether one of them came again: no time is left for anything."""
    reload = False
    """Whether SIGHUP came; who acts on it takes it back."""


class Pulse:
    """Passes a main loop's sign of life on: to the health page at once, to the service manager as often as it wants.

    Args:
        health: The page's.
        turn: Called with each sign of life of a process that is ready.
        clock: Monotonic seconds.
    """

    def __init__(
        self, health: Health, turn: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._health = health
        self._turn = turn
        self._clock = clock
        self._period_s = watchdog_period_s(_NOTIFY_EVERY_S)
        self._due_s = clock()

    def ready(self) -> None:
        """The process does its work now."""
        self._health.ready = True
        self._health.alive()
        notify("READY=1\nSTATUS=working\nWATCHDOG=1")

    def alive(self) -> None:
        """The main loop turned."""
        self._health.alive()
        if (now_s := self._clock()) >= self._due_s:
            self._due_s = now_s + self._period_s
            notify("WATCHDOG=1")
        if self._health.ready:
            self._turn()


class Reloads:
    """Takes a changed configuration over when SIGHUP asks for it.

    The file is read in a thread of its own, so that the main loop goes on; what it says is applied by the main loop.

    Args:
        name: The process's.
        live: What it runs with.
        signals: Say when.
        apply: Changes the process, or raises an `EarmarkError` and changes nothing.
    """

    def __init__(
        self, name: ProcessName, live: "LiveConfig", signals: Signals, apply: "Callable[[ServiceConfig], None]"
    ) -> None:
        self._name: ProcessName = name
        self._live = live
        self._signals = signals
        self._apply = apply
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reload")
        self._reading: Future[LiveConfig] | None = None

    def turn(self) -> None:
        """Take the next step, if there is one. For the main loop's thread."""
        if self._reading is not None:
            if self._reading.done():
                reading, self._reading = self._reading, None
                self._finish(reading)
        elif self._signals.reload:
            self._signals.reload = False
            notify_reloading()
            self._reading = self._reader.submit(self._live.reread)

    def _finish(self, reading: "Future[LiveConfig]") -> None:
        try:
            live = reading.result()
            self._apply(live.config)
        except EarmarkError as error:
            note_refusal(self._name, error)
            notify(f"READY=1\nSTATUS=working; the changed configuration was refused\n{RELOAD_REFUSED}")
            return
        self._live = live
        configure_logging(self._name, live.config.telemetry.log_level)
        note_reload(self._name, live)
        notify(f"READY=1\nSTATUS=working\n{RELOAD_DONE}")


def notify_reloading() -> None:
    """Tell the service manager that a reload begins; it ends with ``READY=1``."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def note_reload(process: str, live: "LiveConfig") -> None:
    """Log and count that a changed configuration was taken over."""
    RELOADS.labels(process, "done").inc()
    LAST_RELOAD.labels(process).set_to_current_time()
    _log.info("configuration reloaded")
    if live.needs_restart:
        _log.warning("some changes need a restart; what ran goes on", settings=live.needs_restart)


def note_refusal(process: str, error: Exception) -> None:
    """Log and count that a changed configuration was not taken over."""
    RELOADS.labels(process, "refused").inc()
    _log.error("configuration refused; nothing has changed", explanation=str(error))


def _note_end(signals: "Signals", number: int) -> None:
    signals.set()
    _log.info("told to end", signal=signal.Signals(number).name)


def follow_signals(*, dies_of_second: bool = True) -> Signals:
    """What SIGTERM, SIGINT and SIGHUP say from now on. For the main thread.

    SIGHUP asks for a reload, and to end where it says that the terminal has gone.

    Args:
        dies_of_second: Whether a second SIGTERM or SIGINT ends the process at once. Who has others to end does that
            first, and looks at ``at_once``.
    """
    signals = Signals()
    had_terminal = sys.stderr.isatty()

    def end(number: int, _frame: FrameType | None) -> None:
        if signals.ended_by is not None:
            signals.at_once = True
            if dies_of_second:
                _die_of(number)
        signals.ended_by = number
        # The handler may interrupt a lock of the event's or of the log's, so another thread does the rest.
        threading.Thread(target=_note_end, args=(signals, number), name="stop", daemon=True).start()

    def hang_up(number: int, frame: FrameType | None) -> None:
        if had_terminal and not sys.stderr.isatty():
            end(number, frame)
        else:
            signals.reload = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, hang_up)
    return signals


def _die_of(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
