"""What the sinks of a configuration are called, and where each begins that is new."""

from publishers.clips.sink import ClipsSink
from publishers.config import PublishersConfig
from publishers.filters import Begin
from publishers.jsonl import JsonlFileSink, JsonlStreamSink
from publishers.mqtt.sink import MqttSink
from publishers.notify.messenger import notify_sink_names, read_urls
from publishers.webhook.config import webhook_sink_name
from publishers.zeromq import ZeroMqSink


def sink_beginnings(config: PublishersConfig) -> dict[str, Begin]:
    """The name of each sink's cursor, and where the sink begins if it has none.

    Raises:
        ConfigError: A file that names a notification's services cannot be read.
    """
    found: dict[str, Begin] = {}
    if config.zeromq is not None:
        found[ZeroMqSink.name] = "now"
    if config.jsonl is not None:
        found[JsonlStreamSink.name if str(config.jsonl.path) == "-" else JsonlFileSink.name] = config.jsonl.begin
    if config.mqtt is not None:
        found[MqttSink.name] = config.mqtt.begin
    if config.clips is not None:
        found[ClipsSink.name] = "now"
    found |= {webhook_sink_name(name): webhook.begin for name, webhook in config.webhooks.items()}
    for name, notification in config.notifications.items():
        n_urls = len(read_urls(notification, f"publishers.notifications.{name}"))
        found |= dict.fromkeys(notify_sink_names(name, n_urls), notification.begin)
    return found
