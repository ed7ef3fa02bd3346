"""The service's three processes under one supervisor."""

import contextlib
import tempfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import structlog

from earmark.app.child import earmark_command
from earmark.app.config import ServiceConfig
from earmark.app.live_config import LiveConfig
from earmark.app.load import service_in
from earmark.app.process import Signals, note_reload
from earmark.app.supervisor import NAME, Patience, Supervisor
from earmark.contracts.errors import ConfigError, EarmarkError
from earmark.contracts.folders import locked
from earmark.outbox import Cursors, OutboxReader
from earmark.telemetry.config import TelemetryConfig
from earmark.telemetry.health import Health
from earmark.telemetry.logs import configure_logging
from earmark.telemetry.server import TelemetryServer
from publishers.clips.sink import ClipsSink
from publishers.config import PublishersConfig
from publishers.jsonl import JsonlFileSink, JsonlStreamSink
from publishers.mqtt.sink import MqttSink
from publishers.notify.messenger import notify_sink_names, read_urls
from publishers.webhook.config import webhook_sink_name
from publishers.zeromq import ZeroMqSink

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def read_service(path: Path | None) -> LiveConfig:
    """The configuration of a service whose processes run side by side.

    Raises:
        ConfigError: All that is wrong with it, one line each.
    """
    return LiveConfig.read(path, lambda document, config: service_in(document, config, together=True))


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

    def note_turn(all_ready: bool) -> None:  # noqa: FBT001 -- as the supervisor calls it
        health.alive()
        health.ready = all_ready

    with (
        tempfile.TemporaryDirectory(prefix="earmark-config-", ignore_cleanup_errors=True) as folder,
        locked(Path(folder)),  # below /tmp systemd-tmpfiles deletes what nobody has used for some days
        _page(live.config.telemetry, health),
    ):
        served = ServedConfig(live, Path(folder) / "earmark.yaml")
        keeping = live.config.supervisor
        supervisor = Supervisor(
            service_commands(served.path, live.config),
            config=served,
            is_drained=is_drained or (lambda: sinks_are_drained(served.config)),
            patience=Patience(stop_s=keeping.stop_s, restart_limit=keeping.restart_limit),
            on_ready=on_ready,
            on_turn=note_turn,
        )
        return supervisor.run(signals)


@contextlib.contextmanager
def _page(telemetry: TelemetryConfig, health: Health) -> Generator[None]:
    """The supervisor's metrics and health; none where nobody asked for them and their port is taken."""
    server = TelemetryServer(telemetry.supervisor, health, where="telemetry.supervisor")
    try:
        server.start()
    except ConfigError as error:
        if "supervisor" in telemetry.model_fields_set:
            raise
        _log.warning("the supervisor tells nothing about itself", explanation=str(error))
    try:
        yield
    finally:
        server.close()


class ServedConfig:
    """The file that the children read: a copy, so that one that starts again does not run what nobody has checked.

    Args:
        live: What they run.
        path: Where the copy is written; nobody else may read there. Without a file of the user's there is none.
    """

    def __init__(self, live: LiveConfig, path: Path) -> None:
        self._live = self._next = live
        self.path = None if live.path is None else path
        self._serve(live)

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
        if self.path is None:
            return
        new = self.path.with_suffix(".new")
        try:
            live.write(new)
            new.replace(self.path)
        except OSError as error:
            raise ConfigError(f"{new}: expected to write the processes' copy, got: {error.strerror}") from error


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
            sinks = _sink_names(config.publishers)
            return all(cursors.get(sink, reader.outbox_id) >= newest_seq for sink in sinks)
        except EarmarkError:
            return False


def _sink_names(config: PublishersConfig) -> list[str]:
    """What the sinks of this configuration call their cursors."""
    names: list[str] = []
    if config.zeromq is not None:
        names.append(ZeroMqSink.name)
    if config.jsonl is not None:
        names.append(JsonlStreamSink.name if str(config.jsonl.path) == "-" else JsonlFileSink.name)
    if config.mqtt is not None:
        names.append(MqttSink.name)
    if config.clips is not None:
        names.append(ClipsSink.name)
    names.extend(webhook_sink_name(name) for name in config.webhooks)
    for name, notification in config.notifications.items():
        n_urls = len(read_urls(notification, f"publishers.notifications.{name}"))
        names.extend(notify_sink_names(name, n_urls))
    return names
