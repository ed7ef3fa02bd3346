"""Keeps streamer, engine and publishers alive, and ends them in the order in which sound passes through them.

| what a child does | what happens |
|---|---|
| dies | started again, after a back-off that grows while it keeps dying |
| is ready, then silent for ``liveness_s`` | it sleeps: killed first, then as above |
| exits with 2 before it was ever ready | the configuration cannot work: all stop, exit code 2 |
| is the streamer and exits with 0 | all its sound is decided on: the others end once the publishers have told of it |
| is the streamer, was ready, exits with 2 | the same, but a source broke off: exit code 2 |
"""

import os
import random
import select
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from earmark.app.child import Child
from earmark.telemetry.metrics import RESTARTS
from earmark.telemetry.notify import notify

UNUSABLE = 2
"""Exit code of a command that cannot work as it was told."""
SOURCE = "streamer"
"""The child whose end means that everything was heard."""

_TICK_S = 0.1
_log = structlog.get_logger()


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits for what.

    Attributes:
        liveness_s: Silence after which a ready child counts as asleep.
        start_s: Time to get ready in.
        stop_s: Time to end in, for each child.
        drain_s: Time in which the publishers must have told everything, once all is heard.
        first_retry_s: Back-off after the first death, before jitter.
        longest_retry_s: The back-off grows no further.
        well_s: A child that ran for so long starts again with the first back-off.
    """

    liveness_s: float = 10.0
    start_s: float = 120.0
    stop_s: float = 5.0
    drain_s: float = 10.0
    first_retry_s: float = 0.2
    longest_retry_s: float = 30.0
    well_s: float = 30.0


class Backoff:
    """Doubles from one death to the next, and forgets once a child ran well.

    Args:
        patience: The bounds.
        chance: Uniform in [0, 1): a delay is shortened by up to a half, so that many never retry in step.
    """

    def __init__(self, patience: Patience, chance: Callable[[], float] = random.random) -> None:
        self._patience = patience
        self._chance = chance
        self._deaths = 0

    def delay_s(self, ran_s: float) -> float:
        """How long to wait after a child that died having run ``ran_s``."""
        if ran_s >= self._patience.well_s:
            self._deaths = 0
        full_s = min(self._patience.longest_retry_s, self._patience.first_retry_s * 2.0 ** min(self._deaths, 32))
        self._deaths += 1
        return full_s * (1 - self._chance() / 2)


class Supervisor:
    """Runs a service's children until they are done or it is told to stop.

    Args:
        commands: Each child's command line by its name, in the order in which they are to end.
        is_drained: Whether the publishers have told everything; asked once the streamer is done.
        patience: How long to wait for what.
        clock: Monotonic seconds.
        on_ready: Called once, when all are ready.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        is_drained: Callable[[], bool] = lambda: True,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._commands = commands
        self._is_drained = is_drained
        self._patience = patience or Patience()
        self._clock = clock
        self._on_ready = on_ready
        self._children: dict[str, Child] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._due_s: dict[str, float] = {}
        self._told_ready = False
        self._notify_due_s = 0.0

    @property
    def pids(self) -> dict[str, int]:
        """The running children's."""
        return {name: child.pid for name, child in self._children.items() if child.pid is not None}

    def run(self, stop: threading.Event) -> int:
        """Start the children and keep them until the end.

        Args:
            stop: Set to end them.

        Returns:
            The exit code: 0, or 2 when a child says that it cannot work as configured.
        """
        reading, writing = os.pipe()
        with tempfile.TemporaryDirectory(prefix="earmark-", ignore_cleanup_errors=True) as folder:
            for name, command in self._commands.items():
                self._children[name] = Child(name, command, Path(folder), reading, self._clock)
                self._backoffs[name] = Backoff(self._patience)
            try:
                for child in self._children.values():
                    child.start()
                return self._watch(stop)
            finally:
                notify("STOPPING=1")
                self._stop(*self._children)
                os.close(reading)
                os.close(writing)

    def _watch(self, stop: threading.Event) -> int:
        while not stop.is_set():
            self._listen()
            for name, child in self._children.items():
                code = child.exit_code()
                child.hear()  # its last words came before its end
                if code == UNUSABLE and not child.was_ready:
                    return UNUSABLE
                if name == SOURCE and (code == 0 or (code == UNUSABLE and child.is_ready)):
                    self._finish(stop)
                    return code
                self._keep_alive(child, code)
            self._tell()
        return 0

    def _finish(self, stop: threading.Event) -> None:
        """End the engine, then wait until the publishers have told everything."""
        _log.info("everything was heard and decided on; waiting for the publishers")
        *upstream, last = self._children
        self._stop(*upstream)
        deadline_s = self._clock() + self._patience.drain_s
        while not self._is_drained():
            if stop.is_set() or self._clock() >= deadline_s:
                _log.warning("the publishers have not told everything; they go on from there at the next start")
                return
            self._listen()
            self._keep_alive(self._children[last], self._children[last].exit_code())
            self._tell()

    def _listen(self) -> None:
        channels = [child.channel for child in self._children.values() if child.channel is not None]
        select.select(channels, [], [], _TICK_S)
        for child in self._children.values():
            child.hear()

    def _keep_alive(self, child: Child, code: int | None) -> None:
        now_s = self._clock()
        if child.name in self._due_s:
            if now_s >= self._due_s[child.name]:
                del self._due_s[child.name]
                child.start()
                RESTARTS.labels(child.name).inc()
            return
        if code is None:
            limit_s = self._patience.liveness_s if child.is_ready else self._patience.start_s
            if now_s - child.heard_s < limit_s:
                return
            _log.error("a child is silent; killing it", child=child.name, silent_s=round(now_s - child.heard_s, 1))
            child.kill()
        delay_s = self._backoffs[child.name].delay_s(now_s - child.started_s)
        _log.error("a child has ended; starting it again", child=child.name, exit_code=code, in_s=round(delay_s, 2))
        child.close()
        self._due_s[child.name] = now_s + delay_s

    def _tell(self) -> None:
        """Pass readiness and life on to whoever watches the supervisor."""
        now_s = self._clock()
        if not self._told_ready and all(child.is_ready for child in self._children.values()):
            self._told_ready = True
            notify("READY=1")
            self._on_ready()
        if now_s >= self._notify_due_s:
            self._notify_due_s = now_s + 1.0
            notify("WATCHDOG=1")

    def _stop(self, *names: str) -> None:
        for name in names:
            if not self._children[name].stop(self._patience.stop_s):
                _log.error("a child did not end in time and was killed", child=name, within_s=self._patience.stop_s)
