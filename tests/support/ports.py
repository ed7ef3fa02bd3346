"""Addresses that nothing else uses."""

import random
import socket

_PORTS = 10_000, 32_000
"""Below those that the system gives to connections: a client that tries a port again and again while nobody listens
there may be given that very port for its own end, connects to itself, and keeps the server from coming back."""
_given: set[int] = set()


def free_address() -> str:
    """A loopback TCP address whose port, and the one behind it, are free, and were given to nobody yet."""
    while True:
        port = random.SystemRandom().randrange(*_PORTS)
        if _given.isdisjoint((port, port + 1)) and _is_free(port) and _is_free(port + 1):
            _given.update((port, port + 1))
            return f"tcp://127.0.0.1:{port}"


def _is_free(port: int) -> bool:
    with socket.socket() as holder:
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
