"""Addresses: what may be bound, where an engine's acknowledgements are found, and what this machine calls itself."""

import errno
import ipaddress
import re
import socket

from earmark.contracts.errors import AddressNotReadyError, ConfigError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""What a browser of this machine may call it in a request's ``Host``; another name may be another site's."""
_NOT_READY = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENETDOWN, errno.ENETUNREACH})
_TCP = re.compile(r"tcp://(?P<host>\[[^\]]+\]|[^:/]+):(?P<port>\d{1,5})")


def ack_address(block_address: str) -> str:
    """Where the engine that takes blocks at ``block_address`` publishes its acknowledgements.

    It is the next TCP port, or the same IPC path with ``.acks`` behind it, so that one address configures both ways.

    Raises:
        ConfigError: The address is neither.
    """
    if block_address.startswith("ipc://") and len(block_address) > len("ipc://"):
        return block_address + ".acks"
    host, port = _split_tcp(block_address)
    return f"tcp://{host}:{port + 1}"


def check_bind(address: str, *, insecure: bool, where: str, curve: str = "") -> str:
    """Return ``address`` if it may be bound.

    Args:
        address: ``tcp://host:port`` or ``ipc://path``.
        insecure: Whether the configuration says that anyone may connect, or whoever does is asked for a key.
        where: The configuration's name of this address, for the message.
        curve: The configuration's name of the section that asks for keys, where there is one.

    Raises:
        ConfigError: It is no such address, or it is reachable from other machines without ``insecure``.
    """
    if address.startswith("ipc://"):
        return address
    host, _ = _split_tcp(address)
    if not insecure and not is_loopback(host):
        keys = f"set {curve} (docs/security.md), " if curve else ""
        raise ConfigError(
            f"{where} binds {address}, which other machines can reach without authentication; "
            f"bind 127.0.0.1, {keys}or write insecure: true beside it on a network that you trust"
        )
    return address


def needs_ipv6(address: str) -> bool:
    """Whether ``address`` is one of IPv6, or a name that has no other; ZeroMQ has to be told.

    Looks names up, so it may take as long as the machine's resolver.
    """
    match = _TCP.fullmatch(address)
    if match is None or match["host"] == "*":
        return False
    host = match["host"]
    if host.startswith("["):
        return True
    return not _has_address(host, socket.AF_INET) and _has_address(host, socket.AF_INET6)


def _has_address(host: str, family: socket.AddressFamily) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None, family=family))
    except (OSError, UnicodeError):
        return False


def _split_tcp(address: str) -> tuple[str, int]:
    match = _TCP.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65535:
        raise ConfigError(f"expected an address like tcp://127.0.0.1:7701 or ipc:///run/earmark.sock, got {address!r}")
    return match["host"], int(match["port"])


def bind_error(where: str, address: str, number: int | None, cause: str, hint: str) -> ConfigError:
    """What to raise where an address cannot be bound.

    Args:
        where: The configuration's name of the address.
        address: What was to be bound.
        number: The system's error number.
        cause: The same in words.
        hint: What to do.

    Returns:
        `AddressNotReadyError` where the machine does not have the address now.
    """
    taken = "another program has it" if number == errno.EADDRINUSE else cause
    kind = AddressNotReadyError if number in _NOT_READY else ConfigError
    return kind(f"{where}: expected to bind {address}, got: {taken}; {hint}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
