"""systemd's notify protocol: one datagram a message to the socket that ``NOTIFY_SOCKET`` names.

A child of `earmark run` has inherited its end of a pair of sockets instead: it needs neither a path, which somebody may
delete, nor a descriptor more, which a process that has run out of them does not get.
"""

import atexit
import os
import socket
from contextlib import suppress
from functools import cache

DESCRIPTOR_VARIABLE = "EARMARK_NOTIFY"
"""Names the inherited descriptor."""


def notify(state: str) -> None:
    """Tell the service manager ``state``: ``READY=1``, ``WATCHDOG=1``, ``STOPPING=1``, a line each.

    Without ``NOTIFY_SOCKET`` nobody asked, and nothing happens. It never blocks: a manager that does not listen
    misses it.
    """
    with suppress(OSError):
        if (descriptor := os.environ.get(DESCRIPTOR_VARIABLE, "")).isdecimal():
            os.write(int(descriptor), state.encode())
            return
        path = os.environ.get("NOTIFY_SOCKET", "")
        if path.startswith(("/", "@")):
            _channel().sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


@cache
def _channel() -> socket.socket:
    """Opened once: later there may be no descriptor left for it."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    channel.settimeout(0)
    atexit.register(channel.close)
    return channel


def watchdog_period_s(longest_s: float) -> float:
    """How often to say ``WATCHDOG=1``: twice in the time that ``WATCHDOG_USEC`` names, or every ``longest_s``."""
    wanted_us = os.environ.get("WATCHDOG_USEC", "")
    return min(longest_s, int(wanted_us) / 2e6) if wanted_us.isdecimal() else longest_s
