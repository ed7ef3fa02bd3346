"""Who we are for the broker, and how it proves who it is."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from earmark.contracts.errors import ConfigError
from publishers.mqtt.config import MqttConfig, MqttTlsConfig
from publishers.mqtt.topics import OFFLINE, Topics


@dataclass(frozen=True)
class Access:
    """How to reach the broker.

    Attributes:
        host: Name or address.
        port: TCP port.
        client_id: What the broker knows us by.
        username: None for nobody.
        password: None without one; never shown.
        tls: None for a connection that is not encrypted.
        will_topic: Where the broker says ``will`` when we are gone, and keeps it.
        will: What it says.
    """

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    will_topic: str
    will: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"publishers.mqtt ({self.host}:{self.port})"

    def __repr__(self) -> str:
        """Without the password."""
        return f"Access({self.where})"


def open_access(config: MqttConfig) -> Access:
    """What the configuration says, with its files read.

    Raises:
        ConfigError: A file cannot be used.
    """
    return Access(
        host=config.host,
        port=config.chosen_port,
        client_id=config.client_id or config.prefix.replace("/", "-"),
        username=config.username,
        password=_read_password(config),
        tls=None if config.tls is None else _trust(config.tls),
        will_topic=Topics(config.prefix).available,
        will=OFFLINE,
    )


def _read_password(config: MqttConfig) -> str | None:
    if config.password_file is None:
        return None if config.password is None else config.password.get_secret_value()
    place = "publishers.mqtt.password_file"
    try:
        lines = config.password_file.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise ConfigError(f"{place}: expected a password in {config.password_file}, got: {reason}") from error
    if len(lines) != 1 or not lines[0]:
        raise ConfigError(f"{place}: expected one line in {config.password_file}, got {len(lines)}; write the password")
    return lines[0]


class _Socket(ssl.SSLSocket):
    """Does not stay open where the broker is not to be trusted: paho forgets it then."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 -- the base class's signature
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _trust(config: MqttTlsConfig) -> ssl.SSLContext:
    place, path = "publishers.mqtt.tls.ca_file", config.ca_file
    try:
        context = ssl.create_default_context(cafile=_text(config.ca_file))
        context.sslsocket_class = _Socket
        if config.cert_file is not None:
            place, path = "publishers.mqtt.tls.cert_file", config.cert_file
            context.load_cert_chain(config.cert_file.expanduser(), _text(config.key_file), password=_no_passphrase)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{place}: expected PEM that belongs together in {path}, got: {reason}") from error
    return context


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser())


def _no_passphrase() -> str:
    """OpenSSL would ask at the terminal."""
    raise ValueError("a key with a passphrase; store it without one, readable by its owner only")
