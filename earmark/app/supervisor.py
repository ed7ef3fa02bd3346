"""Keeps streamer, engine and publishers alive, and ends them in the order in which sound passes through them.

| what a child does | what happens |
|---|---|
| dies | started again, after a back-off that grows while it keeps dying |
| is ready, then silent for ``liveness_s`` | it sleeps: killed first, then as above |
| dies again and again and never works | all end, exit code 3 |
| exits with 75: an address that it binds is not there yet | started again after a back-off, however often |
| exits with 2 before it was ever ready | the configuration cannot work: all stop, exit code 2 |
| is the streamer and exits with 0 | all its sound is decided on: the others end once the publishers have told of it |
| is the streamer, was ready, exits with 2 | the same, but a source broke off: exit code 2 |
| does not end when it is told to | killed, exit code 4 |
"""

import os
import random
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from earmark.app.child import Child
from earmark.app.process import Signals, note_refusal, notify_reloading
from earmark.contracts.errors import EarmarkError
from earmark.telemetry.metrics import PROCESS_READY, RESTARTS
from earmark.telemetry.notify import notify, watchdog_period_s

UNUSABLE, GAVE_UP, FORCED = 2, 3, 4
TRY_AGAIN = os.EX_TEMPFAIL
"""Exit codes: a command that cannot work as it was told; a child that ends again and again; one that was killed."""
SOURCE = "streamer"
"""The child whose end means that everything was heard."""
NAME = "supervisor"
"""What the supervisor calls itself in its logs and metrics."""

_TICK_S = 0.1
_log = structlog.get_logger()


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits for what.

    Attributes:
        liveness_s: Silence after which a ready child counts as asleep.
        start_s: Time to get ready in.
        stop_s: Time to end in, for all children together.
        drain_s: Time in which the publishers must have told everything, once all is heard.
        reload_s: Time in which a child must have read its configuration again.
        first_retry_s: Back-off after the first death, before jitter.
        longest_retry_s: The back-off grows no further.
        well_s: A child that worked for so long starts again with the first back-off.
        restart_limit: Deaths in a row after which all end; None for never.
    """

    liveness_s: float = 10.0
    start_s: float = 120.0
    stop_s: float = 20.0
    drain_s: float = 10.0
    reload_s: float = 30.0
    first_retry_s: float = 0.2
    longest_retry_s: float = 30.0
    well_s: float = 30.0
    restart_limit: int | None = None


class Backoff:
    """Doubles from one death to the next, and forgets once a child worked well.

    Args:
        patience: The bounds.
        chance: Uniform in [0, 1): a delay is shortened by up to a half, so that many never retry in step.
    """

    def __init__(self, patience: Patience, chance: Callable[[], float] = random.random) -> None:
        self._patience = patience
        self._chance = chance
        self.deaths = 0
        """How many came in a row."""
        self._excused = 0

    def delay_s(self, worked_s: float, *, is_excused: bool = False) -> float:
        """How long to wait after a child that died having worked for ``worked_s``.

        Args:
            worked_s: That.
            is_excused: Whether the child itself said that trying again makes sense.
        """
        if worked_s >= self._patience.well_s:
            self.deaths = self._excused = 0
        self._excused += is_excused
        full_s = min(self._patience.longest_retry_s, self._patience.first_retry_s * 2.0 ** min(self.deaths, 32))
        self.deaths += 1
        return full_s * (1 - self._chance() / 2)

    @property
    def is_over(self) -> bool:
        """Whether trying again makes no sense any more."""
        return self._patience.restart_limit is not None and self.deaths - self._excused >= self._patience.restart_limit


class Config(Protocol):
    """What the children read when they start and at each SIGHUP."""

    def renew(self) -> None:
        """Read the user's file again, and put what can be taken over of it before the children.

        Raises:
            EarmarkError: It cannot be used; nothing has changed.
        """
        ...

    def keep(self) -> None:
        """All children have taken it over."""
        ...

    def undo(self) -> None:
        """Put before the children what they had."""
        ...


class Supervisor:
    """Runs a service's children until they are done or it is told to stop.

    Args:
        commands: Each child's command line by its name, in the order in which they are to end.
        config: What they read; None where there is nothing to reload.
        descriptors: What they inherit.
        is_drained: Whether the publishers have told everything; asked once nothing more is decided on.
        patience: How long to wait for what.
        clock: Monotonic seconds.
        on_ready: Called once, when all are ready.
        on_turn: Called with each turn of the loop; whether all are ready now.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        config: Config | None = None,
        descriptors: Sequence[int] = (),
        is_drained: Callable[[], bool] = lambda: True,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_ready: Callable[[], None] = lambda: None,
        on_turn: Callable[[bool], None] = lambda _all_ready: None,
    ) -> None:
        self._commands = commands
        self._config = config
        self._descriptors = descriptors
        self._is_drained = is_drained
        self._patience = patience or Patience()
        self._clock = clock
        self._on_ready = on_ready
        self._on_turn = on_turn
        self._children: dict[str, Child] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._due_s: dict[str, float] = {}
        self._reloading: Iterator[None] = iter(())
        self._told_ready = False
        self._watchdog_s = watchdog_period_s(1.0)
        self._notify_due_s = 0.0
        self._status = ""

    @property
    def pids(self) -> dict[str, int]:
        """The running children's."""
        return {name: child.pid for name, child in self._children.items() if child.pid is not None}

    def run(self, signals: Signals) -> int:
        """Start the children and keep them until the end.

        Args:
            signals: Set to end them; asked twice, they are killed. Says when to reload.

        Returns:
            The exit code: 0, or what the table above says.
        """
        reading, writing = os.pipe()
        for name, command in self._commands.items():
            self._children[name] = Child(name, command, reading, self._descriptors, self._clock)
            self._backoffs[name] = Backoff(self._patience)
        all_ended = True
        try:
            for child in self._children.values():
                child.start()
            code = self._watch(signals)
        finally:
            notify("STOPPING=1\nSTATUS=ending")
            all_ended = self._end(signals)
            os.close(reading)
            os.close(writing)
        return code or (0 if all_ended else FORCED)

    def _watch(self, signals: Signals) -> int:
        while not signals.is_set():
            self._listen()
            for name, child in self._children.items():
                code = child.exit_code()
                child.hear()  # its last words came before its end
                if code == UNUSABLE and not child.was_ready:
                    return UNUSABLE
                if name == SOURCE and (code == 0 or (code == UNUSABLE and child.is_ready)):
                    self._finish(signals)
                    return code
                self._keep_alive(child, code)
                if self._backoffs[name].is_over:
                    _log.error(
                        "a child ends again and again; giving up", child=name, times=self._patience.restart_limit
                    )
                    return GAVE_UP
            self._reload(signals)
            self._tell()
        return 0

    def _finish(self, signals: Signals) -> None:
        """End the engine, then wait until the publishers have told everything."""
        _log.info("everything was heard and decided on; waiting for the publishers")
        *upstream, last = self._children
        for name in upstream:
            self._stop(name, self._patience.stop_s / len(self._children), signals)
        deadline_s = self._clock() + self._patience.drain_s
        while not self._is_drained():
            if signals.is_set() or self._clock() >= deadline_s:
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
                self._restart(child)
            return
        if code is None:
            limit_s = self._patience.liveness_s if child.is_ready else self._patience.start_s
            if now_s - child.heard_s < limit_s:
                return
            _log.error("a child is silent; killing it", child=child.name, silent_s=round(now_s - child.heard_s, 1))
            child.kill()
        delay_s = self._backoffs[child.name].delay_s(child.worked_s, is_excused=code == TRY_AGAIN)
        _log.error("a child has ended; starting it again", child=child.name, exit_code=code, in_s=round(delay_s, 2))
        child.close()
        self._due_s[child.name] = now_s + delay_s

    def _restart(self, child: Child) -> None:
        try:
            child.start()
        except OSError as error:  # the machine has no process, descriptor or memory left for it now
            delay_s = self._backoffs[child.name].delay_s(0.0)
            _log.error("a child cannot be started", child=child.name, error=str(error), again_in_s=round(delay_s, 2))
            self._due_s[child.name] = self._clock() + delay_s
            return
        RESTARTS.labels(child.name).inc()

    def _is_up(self, child: Child) -> bool:
        return child.pid is not None and child.is_ready

    def _tell(self) -> None:
        """Pass readiness and life on to whoever watches the supervisor."""
        now_s = self._clock()
        for name, child in self._children.items():
            PROCESS_READY.labels(name).set(self._is_up(child))
        all_ready = all(map(self._is_up, self._children.values()))
        if not self._told_ready and all_ready:
            self._told_ready = True
            notify("READY=1")
            self._on_ready()
        self._on_turn(all_ready)
        self._show_status()
        if now_s >= self._notify_due_s:
            self._notify_due_s = now_s + self._watchdog_s
            # Whoever sleeps is killed by us long before a watchdog bites; who cannot be killed keeps us from here.
            notify("WATCHDOG=1")

    def _show_status(self) -> None:
        troubles = [
            f"{name} has ended {self._backoffs[name].deaths} times in a row"
            if name in self._due_s
            else f"{name} starts"
            for name, child in self._children.items()
            if not self._is_up(child)
        ]
        status = "; ".join(troubles) or f"{', '.join(self._children)} work"
        if status != self._status:
            self._status = status
            notify(f"STATUS={status}")

    # A changed configuration.

    def _reload(self, signals: Signals) -> None:
        """Take the next step of a reload, or begin one once no child is about to start."""
        if self._config is None:
            return
        done = object()
        if next(self._reloading, done) is not done:
            return
        is_settled = all(self._is_up(child) or name in self._due_s for name, child in self._children.items())
        if signals.reload and is_settled:
            signals.reload = False
            self._reloading = self._hand_out(self._config)

    def _hand_out(self, config: Config) -> Iterator[None]:
        """Have all children take the file over, or none; a step a turn. Those that hear first come last."""
        notify_reloading()
        told: list[Child] = []
        try:
            config.renew()
            for child in reversed(self._children.values()):
                told.append(child)
                yield from self._have_reloaded(child)
        except (EarmarkError, OSError) as error:  # OSError: something that the file names cannot be looked at
            if told:
                config.undo()
                for child in told[:-1]:
                    yield from self._take_back(child)
            note_refusal(NAME, error)
        else:
            config.keep()
        notify("READY=1")
        self._status = ""

    def _take_back(self, child: Child) -> Iterator[None]:
        """Have a child go back to what it had; one that cannot is started again with it."""
        try:
            yield from self._have_reloaded(child)
        except EarmarkError as error:
            _log.error("a child does not go back; it is started again", child=child.name, error=str(error))
            child.kill()

    def _have_reloaded(self, child: Child) -> Iterator[None]:
        """Wait for a child to take the file over. One that starts meanwhile reads it anyway.

        Raises:
            EarmarkError: It refused, or did not answer.
        """
        if not self._is_up(child):
            return
        child.reload()
        deadline_s, starts = self._clock() + self._patience.reload_s, child.starts
        while self._is_up(child) and child.starts == starts and child.reloaded is None:
            if self._clock() >= deadline_s:
                raise EarmarkError(f"{child.name} did not take it over within {self._patience.reload_s:g} s")
            yield
        if child.starts == starts and child.reloaded is False:
            raise EarmarkError(f"{child.name} refused it, as its log says")

    # The end.

    def _end(self, signals: Signals) -> bool:
        """End the children in order, while time is left; whether all ended by themselves."""
        until_s = self._clock() + self._patience.stop_s
        *upstream, last = self._children
        n_left = len(self._children) + 1
        all_ended = True
        for name in upstream:
            all_ended &= self._stop(name, (until_s - self._clock()) / n_left, signals)
            n_left -= 1
        if self._told_ready and self._is_up(self._children[last]):
            flushed_s = self._clock() + (until_s - self._clock()) / 2
            while not self._is_drained() and self._clock() < flushed_s and not signals.at_once:
                self._listen()
        return self._stop(last, until_s - self._clock(), signals) and all_ended

    def _stop(self, name: str, within_s: float, signals: Signals) -> bool:
        if self._children[name].stop(within_s, lambda: signals.at_once):
            return True
        _log.error("a child did not end in time and was killed", child=name, within_s=round(within_s, 1))
        return False
