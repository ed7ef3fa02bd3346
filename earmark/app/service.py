"""The service's three processes under one supervisor."""

import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from earmark.app.child import earmark_command
from earmark.app.config import ServiceConfig
from earmark.app.supervisor import Supervisor
from earmark.contracts.errors import EarmarkError
from earmark.outbox import Cursors, OutboxReader
from publishers.clips.sink import ClipsSink
from publishers.config import PublishersConfig
from publishers.jsonl import JsonlFileSink, JsonlStreamSink
from publishers.notify.messenger import notify_sink_names, read_urls
from publishers.webhook.config import webhook_sink_name
from publishers.zeromq import ZeroMqSink


def supervise(
    path: Path | None,
    config: ServiceConfig,
    stop: threading.Event,
    *,
    is_drained: Callable[[], bool] | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    """Run streamer, engine and publishers until they are done or ``stop`` is set.

    Args:
        path: The file that ``config`` comes from, for the children.
        config: What they run.
        stop: Set to end them.
        is_drained: Whether everything was told, once all is heard; by default, whether every sink has taken it.
        on_ready: Called once, when all three are ready.

    Returns:
        The exit code.
    """
    supervisor = Supervisor(
        service_commands(path, config),
        is_drained=is_drained or (lambda: sinks_are_drained(config)),
        on_ready=on_ready,
    )
    return supervisor.run(stop)


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
    if config.clips is not None:
        names.append(ClipsSink.name)
    names.extend(webhook_sink_name(name) for name in config.webhooks)
    for name, notification in config.notifications.items():
        n_urls = len(read_urls(notification, f"publishers.notifications.{name}"))
        names.extend(notify_sink_names(name, n_urls))
    return names
