"""The configuration's section ``publishers``."""

from pathlib import Path
from typing import Annotated, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from earmark.contracts.addresses import check_bind
from earmark.contracts.config import Section
from earmark.contracts.curve import CurveServer
from publishers.clips.config import ClipsConfig
from publishers.deadletters import DeadLettersConfig
from publishers.filters import Begin, check_sink_name
from publishers.http.config import HttpConfig
from publishers.mqtt.config import MqttConfig
from publishers.notify.config import NotifyConfig
from publishers.webhook.config import WebhookConfig

SinkName: TypeAlias = Annotated[str, AfterValidator(check_sink_name)]


class ZeroMqConfig(Section):
    """Events on a PUB socket, and everything that a subscriber missed on a history socket."""

    bind: str = "tcp://127.0.0.1:7711"
    """Where subscribers are told each event as it happens."""
    history_bind: str = "tcp://127.0.0.1:7712"
    """Where they ask for the events that they missed."""
    insecure: bool = False
    """Whether other machines may connect, without authentication."""
    curve: CurveServer | None = None
    """Encrypts both, and tells events only to keys that may have them."""

    @model_validator(mode="after")
    def _may_be_bound(self) -> Self:
        is_open = self.insecure or self.curve is not None
        for name in ("bind", "history_bind"):
            where = f"publishers.zeromq.{name}"
            check_bind(getattr(self, name), insecure=is_open, where=where, curve="publishers.zeromq.curve")
        if self.bind == self.history_bind:
            raise ValueError(f"expected two addresses, got {self.bind} for bind and for history_bind")
        return self


class JsonlConfig(Section):
    """Events as JSON Lines."""

    path: Path
    """A file that is appended to, or ``-`` for standard output."""
    begin: Begin = "now"
    """Where it begins when it is added to a service that has run before: with what happens from ``now`` on, or with the
    ``oldest`` event that the outbox keeps."""


class PublishersConfig(Section):
    """The sinks; null turns one off."""

    zeromq: ZeroMqConfig | None = ZeroMqConfig()
    http: HttpConfig | None = HttpConfig()
    jsonl: JsonlConfig | None = None
    mqtt: MqttConfig | None = None
    clips: ClipsConfig | None = None
    webhooks: dict[SinkName, WebhookConfig] = Field(default_factory=dict[SinkName, WebhookConfig])
    """Servers that are told by POST, by a name of your own."""
    notifications: dict[SinkName, NotifyConfig] = Field(default_factory=dict[SinkName, NotifyConfig])
    """People who are told, by a name of your own."""
    dead_letters: DeadLettersConfig = DeadLettersConfig()
