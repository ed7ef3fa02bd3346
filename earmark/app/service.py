"""The service's three processes under one supervisor."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from earmark.app.child import earmark_command
from earmark.app.config import ServiceConfig
from earmark.app.live_config import LiveConfig
from earmark.app.load import service_in
from earmark.app.process import Signals, note_reload
from earmark.app.supervisor import NAME, Patience, Supervisor
from earmark.contracts.errors import AddressNotReadyError, ConfigError, EarmarkError
from earmark.outbox import Cursors, OutboxReader
from earmark.telemetry.config import TelemetryConfig
from earmark.telemetry.health import Health
from earmark.telemetry.logs import configure_logging
from earmark.telemetry.server import TelemetryServer
from publishers.names import sink_beginnings

_FIRST_PAGE_RETRY_S, _LONGEST_PAGE_RETRY_S = 1.0, 30.0

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def read_service(path: Path | None, *, port_base: int | None = None) -> LiveConfig:
    """The configuration of a service whose processes run side by side.

    Args:
        path: The file; None for the default configuration.
        port_base: As ``port_base`` of the file, which it replaces.

    Raises:
        ConfigError: All that is wrong with it, one line each.
    """
    return LiveConfig.read(
        path, lambda document, config: service_in(document, config, together=True), port_base=port_base
    )


def supervise(
    live: LiveConfig,
    signals: Signals,
    *,
    is_drained: Callable[[], bool] | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    """Run streamer, engine and publishers until they are done or ``signals`` say so.

    Args:
        live: What they run.
        signals: Say when to end and when to reload.
        is_drained: Whether everything was told, once all is heard; by default, whether every sink has taken it.
        on_ready: Called once, when all three are ready.

    Returns:
        The exit code.

    Raises:
        ConfigError: The supervisor's own page cannot be served.
    """
    health = Health()
    with (
        contextlib.closing(_Page(live.config.telemetry, health)) as page,
        contextlib.closing(ServedConfig(live)) as served,
    ):

        def note_turn(all_ready: bool) -> None:  # noqa: FBT001 -- as the supervisor calls it
            health.alive()
            health.ready = all_ready
            page.turn()

        keeping = live.config.supervisor
        supervisor = Supervisor(
            service_commands(served.path, live.config),
            config=served,
            descriptors=served.descriptors,
            is_drained=is_drained or (lambda: sinks_are_drained(served.config)),
            patience=Patience(stop_s=keeping.stop_s, restart_limit=keeping.restart_limit),
            on_ready=on_ready,
            on_turn=note_turn,
        )
        return supervisor.run(signals)


class _Page:
    """The supervisor's metrics and health; none where nobody asked for them and their port is taken.

    An address that is not there yet is tried again with each `turn`, after a back-off.

    Args:
        telemetry: Where it is.
        health: What it tells.
        clock: Monotonic seconds.

    Raises:
        ConfigError: Somebody asked for it, and its address cannot be bound.
    """

    def __init__(self, telemetry: TelemetryConfig, health: Health, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = TelemetryServer(telemetry.supervisor, health, where="telemetry.supervisor")
        self._clock = clock
        self._wait_s, self._due_s = _FIRST_PAGE_RETRY_S, math.inf
        try:
            self._start()
        except ConfigError as error:
            if "supervisor" in telemetry.model_fields_set:
                raise
            _log.warning("the supervisor tells nothing about itself", explanation=str(error))

    def turn(self) -> None:
        """Try again, if that is due."""
        if self._clock() >= self._due_s:
            self._start()

    def _start(self) -> None:
        self._due_s = math.inf
        try:
            self._server.start()
        except AddressNotReadyError as error:
            _log.warning("the supervisor's page is tried again", explanation=str(error), in_s=self._wait_s)
            self._due_s = self._clock() + self._wait_s
            self._wait_s = min(2 * self._wait_s, _LONGEST_PAGE_RETRY_S)

    def close(self) -> None:
        """Stop serving."""
        self._server.close()


class ServedConfig:
    """What the children read: a copy in memory, so that one that starts again does not run what nobody has checked.

    They inherit its descriptor. So nobody can delete it, and nothing of it is left behind.

    Args:
        live: What they run. The default configuration needs no copy.
    """

    def __init__(self, live: LiveConfig) -> None:
        self._live = self._next = live
        self._file = None if live.is_default else os.memfd_create("earmark.yaml")
        self._serve(live)

    @property
    def path(self) -> Path | None:
        """Where a child finds it."""
        return None if self._file is None else Path(f"/proc/self/fd/{self._file}")

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a child inherits."""
        return () if self._file is None else (self._file,)

    def close(self) -> None:
        """Give the memory back."""
        if self._file is not None:
            os.close(self._file)

    @property
    def config(self) -> ServiceConfig:
        """What runs."""
        return self._live.config

    def renew(self) -> None:
        """Put the user's file before the children, but for what needs a restart.

        Raises:
            ConfigError: All that is wrong with it; nothing has changed.
        """
        self._next = self._live.reread()
        self._serve(self._next)

    def keep(self) -> None:
        """All children have taken it over."""
        self._live = self._next
        configure_logging(NAME, self.config.telemetry.log_level)
        note_reload(NAME, self._live)

    def undo(self) -> None:
        """Put before the children what they had."""
        self._serve(self._live)

    def _serve(self, live: LiveConfig) -> None:
        """Put it before the children, none of which reads just now: they do when they start and are told to."""
        if self._file is not None:
            content = live.text.encode()
            os.pwrite(self._file, content, 0)
            os.ftruncate(self._file, len(content))


def service_commands(path: Path | None, config: ServiceConfig) -> Mapping[str, tuple[str, ...]]:
    """The children's command lines, in the order in which they are to end."""
    arguments = () if path is None else (str(path),)
    engine = earmark_command("engine", *arguments)
    shards = range(len(config.engine.bind))
    engines = {f"engine-{shard}": (*engine, "--shard", str(shard)) for shard in shards}
    return {
        "streamer": earmark_command("stream", *arguments),
        **(engines if config.engine.shards else {"engine": engine}),
        "publishers": earmark_command("publish", *arguments),
    }


def sinks_are_drained(config: ServiceConfig) -> bool:
    """Whether every sink has taken the newest event of the outbox."""
    with contextlib.ExitStack() as opened:
        try:
            reader = opened.enter_context(contextlib.closing(OutboxReader(config.outbox.path)))
            cursors = opened.enter_context(contextlib.closing(Cursors(config.outbox.cursors_path)))
            newest_seq = reader.newest_seq()
            sinks = sink_beginnings(config.publishers)
            return all(cursors.get(sink, reader.outbox_id) >= newest_seq for sink in sinks)
        except EarmarkError:
            return False
