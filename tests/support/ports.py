"""Addresses that nothing else uses: no program of this machine, and no test of another process."""

import random
import socket
from collections.abc import Iterator
from contextlib import suppress

_BLOCK = 200
_BLOCKS = range(20_000, 32_000, _BLOCK)
"""Below the ports that Linux gives to connections: one of those would take a port while its server is away."""


def free_address() -> str:
    """A loopback TCP address whose port, and the one behind it, are free, and are given to nobody else."""
    return f"tcp://127.0.0.1:{next(_ports)}"


def _own_ports() -> Iterator[int]:
    claims: list[socket.socket] = []
    while True:
        first = random.choice(_BLOCKS)  # noqa: S311 -- no secret
        claim = socket.socket(type=socket.SOCK_DGRAM)  # while it is bound, the block is this process's
        claims.append(claim)
        with suppress(OSError):
            claim.bind(("127.0.0.1", first))
            yield from (port for port in range(first, first + _BLOCK, 2) if _is_free(port) and _is_free(port + 1))


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


_ports = _own_ports()
