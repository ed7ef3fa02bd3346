"""Addresses that nothing else uses."""

import socket

_given: set[int] = set()


def free_address() -> str:
    """A loopback TCP address whose port, and the one behind it, are free, and were given to nobody yet."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if port > 60_000 or not _given.isdisjoint((port, port + 1)):
                continue
            with socket.socket() as second:
                try:
                    second.bind(("127.0.0.1", port + 1))
                except OSError:
                    continue
        _given.update((port, port + 1))
        return f"tcp://127.0.0.1:{port}"
