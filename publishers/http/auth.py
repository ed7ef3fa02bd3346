"""Who may look: a token or a password, compared in constant time."""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path

from pydantic import SecretStr

from earmark.contracts.errors import ConfigError
from publishers.http.config import HttpConfig

LEAST_TOKEN, LEAST_PASSWORD = 16, 8


class Keys:
    """The token and the password of a configuration, kept as digests.

    Args:
        config: Where they stand.

    Raises:
        ConfigError: A file cannot be read, or one of them is too short.
    """

    def __init__(self, config: HttpConfig) -> None:
        token = _read(config.token, config.token_file, "token", LEAST_TOKEN)
        password = _read(config.password, config.password_file, "password", LEAST_PASSWORD)
        self._bearer = None if token is None else _digest(token)
        self._basic = [] if password is None else [_digest(config.user.encode() + b":" + password)]
        self._passwords = [] if token is None else [_digest(token)]
        self.challenges = (['Bearer realm="Earmark"'] if token else []) + ['Basic realm="Earmark", charset="UTF-8"']
        """What a browser or a program is asked for."""
        self.is_open = not config.has_auth
        """Whether nobody is asked."""

    def fit(self, header: bytes) -> bool:
        """Whether the value of an ``Authorization`` header lets in. Any user may give the token as a password."""
        scheme, _, value = header.strip().partition(b" ")
        value = value.strip()
        if scheme.lower() == b"bearer":
            return self._bearer is not None and hmac.compare_digest(_digest(value), self._bearer)
        if scheme.lower() != b"basic":
            return False
        try:
            pair = base64.b64decode(value, validate=True)
        except binascii.Error:
            return False
        tried = [(_digest(pair), self._basic), (_digest(pair.partition(b":")[2]), self._passwords)]
        fits = [hmac.compare_digest(given, known) for given, digests in tried for known in digests]
        return any(fits)


def _digest(secret: bytes) -> bytes:
    """Of one length, so that comparing tells nothing of the secret's."""
    return hashlib.sha256(secret).digest()


def _read(value: SecretStr | None, path: Path | None, name: str, least: int) -> bytes | None:
    where = f"publishers.http.{name}" if path is None else f"publishers.http.{name}_file"
    if value is not None:
        secret = value.get_secret_value().strip().encode()
    elif path is not None:
        try:
            secret = path.expanduser().read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"{where}: expected a {name} in {path}, got: {error.strerror}") from error
    else:
        return None
    if len(secret) < least:
        raise ConfigError(
            f"{where}: expected at least {least} bytes, got {len(secret)}; make one with: openssl rand -base64 32"
        )
    return secret
