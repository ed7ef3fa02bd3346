"""One of the configuration's ``publishers.webhooks``."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, model_validator

from earmark.contracts.cloudevents import check_source_prefix
from earmark.contracts.config import Section
from earmark.contracts.errors import ConfigError
from earmark.contracts.urls import normalise_url
from publishers.filters import Begin, EventFilter

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_OURS = re.compile(
    r"content-(type|length)|transfer-encoding|connection|host|idempotency-key|webhook-.*|ce-.*", re.IGNORECASE
)


def _check_url(url: SecretStr) -> SecretStr:
    text = normalise_url(url.get_secret_value())
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:
        is_good = False
    if not is_good or not text.isascii() or any(character.isspace() for character in text):
        raise ConfigError("expected an address like https://host/path, got something else, which is not shown")
    return SecretStr(text)


def _check_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ConfigError(f"expected the name of an HTTP header, got {name!r}")
        if _OURS.fullmatch(name):
            raise ConfigError(f"{name}: Earmark sets this header itself; leave it out")
        if not _VALUE.fullmatch(value.get_secret_value()):
            raise ConfigError(f"{name}: expected printable ASCII, got a value that is not shown")
    return headers


def origin_of(url: SecretStr) -> str:
    """Scheme, host and port: what may be shown of an address whose path and user may be secret."""
    parts = urlsplit(url.get_secret_value())
    port = "" if parts.port is None else f":{parts.port}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def webhook_sink_name(name: str) -> str:
    """What the sink of a webhook is called."""
    return f"webhook.{name}"


def _hide(url: SecretStr) -> str:
    return f"{origin_of(url)}/***"


WebhookUrl = Annotated[SecretStr, AfterValidator(_check_url), PlainSerializer(_hide, return_type=str)]
Headers = Annotated[dict[str, SecretStr], AfterValidator(_check_headers)]


class WebhookConfig(Section):
    """A server that is told the events it wants by POST, as CloudEvents."""

    url: WebhookUrl
    """Where to; only its host is ever shown, because its path may be a secret."""
    mode: Literal["structured", "binary", "batch"] = "structured"
    """One event in a JSON body, one with its attributes as ``ce-`` headers, or several at once as a JSON list."""
    max_batch: Annotated[int, Field(ge=1, le=256)] = 100
    """Most events in one request, where ``mode`` is ``batch``; it waits for none."""
    filter: EventFilter = EventFilter()
    """Which events it gets; all without it."""
    begin: Begin = "now"
    """Where it begins when it is added to a service that has run before: with what happens from ``now`` on, or with the
    ``oldest`` event that the outbox keeps."""
    secret: SecretStr | None = None
    """Signs each request as Standard Webhooks has it; take it from the environment: ``${NAME}``."""
    secret_file: Path | None = None
    """The same in a file; several lines sign with each, while a secret is being changed."""
    headers: Headers = Field(default_factory=dict[str, SecretStr])
    """More headers of each request, such as ``Authorization``; their values are never shown."""
    ca_file: Path | None = None
    """Certificates (PEM) that the server's must come from; null: the usual authorities."""
    source_prefix: Annotated[str, AfterValidator(check_source_prefix)] = ""
    """What comes before ``/streams/NAME`` in an event's ``source``, to tell several Earmarks apart."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    """A request that takes longer in all has failed."""
    max_attempts: Annotated[int, Field(ge=1)] = 20
    """After so many failures an event goes to the dead letters; 20 take about 4 minutes."""
    max_age_s: Annotated[float, Field(gt=0)] = 3600.0
    """So it does this long after its first attempt, however few there were."""

    @model_validator(mode="after")
    def _has_one_secret(self) -> Self:
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("expected one of secret and secret_file, got both; leave one out")
        return self
