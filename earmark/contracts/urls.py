"""Addresses that may hold a user's name and password: how they are written, filled in and shown."""

import re
from collections.abc import Callable
from urllib.parse import quote

from earmark.contracts.errors import ConfigError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_AUTHORITY = re.compile(r"[^/?#]*")
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]\s]*)(:\d{1,5})?")
_SUB_DELIMS = "!$&'()*+,;="
_IN_CREDENTIALS = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*")
_IN_QUERY = re.compile(r"(?:[A-Za-z0-9\-._~]|%[0-9A-Fa-f]{2})*")
_NOT_IN_CREDENTIALS = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~!$&'()*+,;=:%]")
_SECRET_IN_PATH = re.compile(r"(://.*?(?:pass|pwd|psw|secret|token|auth|key)\w*=).*", re.IGNORECASE | re.DOTALL)


def redact_url(url: str) -> str:
    """``url`` without what may be a secret: passwords, a user that has none, the query, ``password=`` in the path.

    Where a password ends is not known if it holds ``@``, ``/``, ``?`` or ``#``. So everything between the first colon
    after the scheme and the last ``@`` is hidden, which may hide a part of the path too.
    """
    url = re.sub(r"(://[^/?#:\[]*):.*@", r"\1:***@", url, count=1, flags=re.DOTALL)
    url = re.sub(r"(://)[^/?#:@\[]+@", r"\1***@", url, count=1)
    url = re.sub(r"(://[^?#]*[?#]).*", r"\1***", url, count=1, flags=re.DOTALL)
    return _SECRET_IN_PATH.sub(r"\1***", url)


def redact_text(text: str) -> str:
    """``text`` with every address in it as `redact_url` shows it. After `normalise_url` no credentials hold a space."""
    return _IN_TEXT.sub(lambda match: redact_url(match[0]), text)


def normalise_url(url: str) -> str:
    """``url`` with its user and password percent-encoded where they are not.

    Raises:
        ConfigError: It has no host, or nobody can tell where its password ends. The message does not quote it.
    """
    match = _SCHEME.match(url)
    if match is None:
        raise ConfigError("expected an address like rtsp://host/path, got one without a scheme, which is not shown")
    scheme, rest = match[0], url[match.end() :]
    authority = _AUTHORITY.match(rest)
    host = "" if authority is None else authority[0]
    tail = rest[len(host) :]
    credentials, at, host_and_port = host.rpartition("@")
    if "@" in tail and ":" in host and not host.startswith("["):
        raise ConfigError(
            "expected one @ at most, before the host, got another after it; in a password write %2F for /, %3F for ? "
            "and %23 for #, elsewhere %40 for @"
        )
    if _HOST_AND_PORT.fullmatch(host_and_port) is None:
        raise ConfigError(
            "expected host or host:port after the user and password, got something else, which is not shown; "
            "in a password write %40 for @, %2F for /, %3F for ? and %23 for #"
        )
    encoded = _NOT_IN_CREDENTIALS.sub(lambda character: _encode(character[0]), credentials)
    return f"{scheme}{encoded}{at}{host_and_port}{tail}"


def fill_url(template: str, variable: re.Pattern[str], look_up: Callable[[re.Match[str]], str]) -> str:
    """``template`` with its variables filled in; values in credentials and in the query are percent-encoded.

    A value that is percent-encoded already stays as it is. Outside credentials and query, and in a text that is no
    address, values are taken as they are.

    Args:
        template: An address with variables, or any other text.
        variable: Matches a variable.
        look_up: Gives a variable's value.
    """
    scheme = _SCHEME.match(template)
    if scheme is None:
        return variable.sub(look_up, template)
    masked = variable.sub(lambda match: "_" * len(match[0]), template)
    authority_end = _end_of(_AUTHORITY, masked, scheme.end())
    host_start = masked.rfind("@", scheme.end(), authority_end) + 1
    query_start = masked.find("?", authority_end)

    def fill(match: re.Match[str]) -> str:
        value = look_up(match)
        if match.start() < host_start:
            return value if _IN_CREDENTIALS.fullmatch(value) else _encode(value, safe=_SUB_DELIMS + ":")
        if 0 <= query_start < match.start():
            return value if _IN_QUERY.fullmatch(value) else _encode(value)
        return value

    return variable.sub(fill, template)


def _encode(text: str, safe: str = "") -> str:
    return quote(text, safe=safe, errors="surrogateescape")  # a variable may hold any bytes


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return start if match is None else match.end()
