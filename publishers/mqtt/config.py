"""The configuration's ``publishers.mqtt``."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from earmark.contracts.cloudevents import check_source_prefix
from earmark.contracts.config import Section
from earmark.contracts.errors import ConfigError
from earmark.contracts.streams import check_stream_name
from publishers.filters import Begin, EventFilter
from publishers.mqtt.topics import check_prefix, segment, slug

_HOST = re.compile(r"[^\s/?#@\x00-\x1f]{1,255}")
TopicPrefix = Annotated[str, AfterValidator(check_prefix)]


def _check_host(host: str) -> str:
    if not _HOST.fullmatch(host):
        raise ConfigError(
            "expected the broker's name or address alone, got something else, which is not shown; port, username and "
            "password have keys of their own"
        )
    return host


class MqttTlsConfig(Section):
    """Encryption, and certificates instead of or beside a password. ``{}`` takes what the system trusts."""

    ca_file: Path | None = None
    """Certificates (PEM) that the broker's must come from; null: the usual authorities."""
    cert_file: Path | None = None
    """Our own certificate (PEM), where the broker asks for one."""
    key_file: Path | None = None
    """Its key (PEM); null: it is in ``cert_file``."""

    @model_validator(mode="after")
    def _key_has_certificate(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("expected cert_file beside key_file; add it")
        return self


class HomeAssistantConfig(Section):
    """Entities that Home Assistant finds by itself: a device a stream."""

    prefix: TopicPrefix = "homeassistant"
    """Where Home Assistant looks for them."""
    labels: tuple[str, ...] = ()
    """Labels, and groups of ``engine.groups``, that become binary sensors."""
    streams: tuple[Annotated[str, AfterValidator(check_stream_name)], ...] = ()
    """Streams that become devices; others are taken back. Empty: each that an engine tells of, and none is taken
    back."""


class MqttConfig(Section):
    """A broker of MQTT 5 that is told events, states and levels."""

    host: Annotated[str, AfterValidator(_check_host)]
    """Name or address of the broker."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Null: 8883 with ``tls``, 1883 without."""
    prefix: TopicPrefix = "earmark"
    """What topics begin with; two services at one broker need two."""
    client_id: Annotated[str, Field(min_length=1, max_length=65535)] | None = None
    """What the broker knows us by, always the same; null: made of ``prefix``."""
    username: str | None = None
    password: SecretStr | None = None
    """Take it from the environment: ``${NAME}``."""
    password_file: Path | None = None
    """The same in a file."""
    tls: MqttTlsConfig | None = None
    insecure: bool = False
    """Whether a password may cross the network without ``tls``."""
    filter: EventFilter = EventFilter()
    """Which events are told. States follow its streams and labels and what it asks of an onset."""
    begin: Begin = "now"
    """Where it begins when it is added to a service that has run before: with what happens from ``now`` on, or with the
    ``oldest`` event that the outbox keeps."""
    source_prefix: Annotated[str, AfterValidator(check_source_prefix)] = ""
    """What comes before ``/streams/NAME`` in an event's ``source``, to tell several Earmarks apart."""
    retain: bool = False
    """Whether the broker keeps the states ``ON`` and ``OFF`` for those who come later."""
    max_state_age_s: Annotated[float, Field(gt=0)] = 30.0
    """A sound that began longer ago turns no state ``ON`` any more, when the news of it comes late."""
    control: bool = False
    """Whether whoever may write to ``PREFIX/STREAM/set`` switches a stream's events and states off and on."""
    homeassistant: HomeAssistantConfig | None = None

    @property
    def chosen_port(self) -> int:
        """``port``, or the usual one."""
        return self.port or (1883 if self.tls is None else 8883)

    @model_validator(mode="after")
    def _password_is_kept(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("expected one of password and password_file, got both; leave one out")
        has_password = self.password is not None or self.password_file is not None
        if has_password and self.username is None:
            raise ValueError("expected a username beside the password; add it")
        if has_password and self.tls is None and not self.insecure and not _is_loopback(self.host):
            raise ValueError(
                f"the password would cross the network to {self.host} unencrypted; "
                "set tls, or write insecure: true on a network that you trust"
            )
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        labels = () if self.homeassistant is None else self.homeassistant.labels
        names = [slug(segment(label)) for label in labels]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"expected a name of its own for each label, got {', '.join(twice)} twice")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
