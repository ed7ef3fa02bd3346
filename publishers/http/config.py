"""The configuration's ``publishers.http``."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from earmark.contracts.addresses import is_loopback
from earmark.contracts.config import Section
from earmark.contracts.errors import ConfigError

_BIND = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+(?:%[\w.-]+)?\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")
_USER = re.compile(r"[^:\x00-\x1f\x7f]{1,64}")


def split_bind(bind: str) -> tuple[str, int]:
    """Host, without the brackets of an IPv6 address, and port.

    Raises:
        ConfigError: It is no ``host:port``.
    """
    match = _BIND.fullmatch(bind)
    if match is None or not 0 < int(match["port"]) <= 65535:
        raise ConfigError(f"expected host:port like 127.0.0.1:7713, got {bind!r}")
    return match["host"].strip("[]"), int(match["port"])


def _check_bind(bind: str) -> str:
    split_bind(bind)
    return bind


def _check_user(user: str) -> str:
    if not _USER.fullmatch(user):
        raise ConfigError("expected 1 to 64 characters without a colon")
    return user


class HttpConfig(Section):
    """The page at ``/``, REST and server-sent events."""

    bind: Annotated[str, AfterValidator(_check_bind)] = "127.0.0.1:7713"
    """Where it listens: ``host:port``. Off loopback it wants a token or a password, and TLS."""
    token: SecretStr | None = None
    """Who sends it as ``Authorization: Bearer``, or as a password, may look; from the environment: ``${NAME}``."""
    token_file: Path | None = None
    """The same in a file."""
    user: Annotated[str, AfterValidator(_check_user)] = "earmark"
    """Whom the password belongs to."""
    password: SecretStr | None = None
    """For browsers; take it from the environment: ``${NAME}``."""
    password_file: Path | None = None
    """The same in a file."""
    cert_file: Path | None = None
    """Certificate chain (PEM): turns TLS on."""
    key_file: Path | None = None
    """The certificate's private key (PEM)."""
    insecure: bool = False
    """Whether other machines may connect without TLS, as behind a proxy that adds it; never without authentication."""
    hosts: tuple[str, ...] = ()
    """Names under which it is reached through a proxy, where it asks for neither token nor password."""
    max_connections: Annotated[int, Field(ge=4, le=10_000)] = 256
    """At once; further ones are answered 503."""
    max_streams: Annotated[int, Field(ge=1, le=10_000)] = 128
    """Endless answers at once: events and pictures; a page takes two."""
    max_streams_per_client: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Of these, to one address."""

    @property
    def url(self) -> str:
        """Of the page, as this machine reaches it."""
        host, port = split_bind(self.bind)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- what is bound, not binding
        scheme = "http" if self.cert_file is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    @property
    def is_for_this_machine(self) -> bool:
        """Whether nobody reaches it from another machine, neither directly nor through a proxy."""
        return is_loopback(split_bind(self.bind)[0]) and not self.has_auth and not self.hosts

    @property
    def has_auth(self) -> bool:
        """Whether it asks who is there."""
        return any((self.token, self.token_file, self.password, self.password_file))

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for one, other in (("token", "token_file"), ("password", "password_file")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"expected one of {one} and {other}, got both; leave one out")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("expected cert_file and key_file together, got one of them; set both, or none")
        return self

    @model_validator(mode="after")
    def _may_be_bound(self) -> Self:
        host, _ = split_bind(self.bind)
        if is_loopback(host):
            return self
        reached = f"publishers.http.bind is {self.bind}, which other machines can reach"
        if not self.has_auth:
            raise ConfigError(f"{reached} without authentication; set token_file or password_file, or bind 127.0.0.1")
        if self.cert_file is None and not self.insecure:
            raise ConfigError(
                f"{reached} without TLS; set cert_file and key_file, or write insecure: true beside it on a network "
                "that you trust"
            )
        return self
