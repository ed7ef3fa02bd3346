"""Signatures as Standard Webhooks has them (https://www.standardwebhooks.com).

What is signed is ``ID.TIMESTAMP.BODY`` with HMAC-SHA-256; the header holds ``v1,`` and the Base64 of that, one for each
secret, with a space between.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from earmark.contracts.errors import ConfigError
from publishers.webhook.config import WebhookConfig

PREFIX = "whsec_"
LEAST_BYTES = 16


def read_secrets(config: WebhookConfig, where: str) -> tuple[bytes, ...]:
    """The keys to sign with; none where no secret is configured.

    Args:
        config: The webhook's.
        where: Its name in the configuration, for messages.

    Raises:
        ConfigError: The file cannot be read, or what is in it is no secret.
    """
    if config.secret is not None:
        return (_key(config.secret.get_secret_value().strip(), f"{where}.secret"),)
    if config.secret_file is None:
        return ()
    place = f"{where}.secret_file"
    try:
        lines = config.secret_file.expanduser().read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise ConfigError(f"{place}: expected a secret in {config.secret_file}, got: {reason}") from error
    if not lines:
        raise ConfigError(f"{place}: expected a secret in {config.secret_file}, got an empty file")
    return tuple(_key(line, place) for line in lines)


def _key(secret: str, place: str) -> bytes:
    """``whsec_`` and Base64 stand for bytes; any other text for itself."""
    try:
        key = base64.b64decode(secret[len(PREFIX) :], validate=True) if secret.startswith(PREFIX) else secret.encode()
    except binascii.Error as error:
        raise ConfigError(f"{place}: expected Base64 behind {PREFIX}, got something that is not shown") from error
    if len(key) < LEAST_BYTES:
        raise ConfigError(
            f"{place}: expected at least {LEAST_BYTES} bytes, got {len(key)}; make one with: openssl rand -base64 32"
        )
    return key


def sign(keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers ``webhook-id``, ``webhook-timestamp`` and, where there are keys, ``webhook-signature``.

    Args:
        keys: From `read_secrets`.
        message_id: The same however often the message is sent.
        timestamp_s: UTC of this attempt, seconds since 1970.
        body: The request's.
    """
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s)}
    if keys:
        content = f"{message_id}.{timestamp_s}.".encode() + body
        digests = [hmac.new(key, content, hashlib.sha256).digest() for key in keys]
        headers["webhook-signature"] = " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)
    return headers
