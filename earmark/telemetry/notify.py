"""systemd's notify protocol: one datagram a message to the socket that ``NOTIFY_SOCKET`` names."""

import os
import socket


def notify(state: str) -> None:
    """Tell the service manager ``state``: ``READY=1``, ``WATCHDOG=1``, ``STOPPING=1``, a line each.

    Without ``NOTIFY_SOCKET`` nobody asked, and nothing happens. It never blocks: a manager that does not listen
    misses it.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(0)
        try:
            channel.sendto(state.encode(), address)
        except OSError:
            return


def watchdog_period_s(longest_s: float) -> float:
    """How often to say ``WATCHDOG=1``: twice in the time that ``WATCHDOG_USEC`` names, or every ``longest_s``."""
    wanted_us = os.environ.get("WATCHDOG_USEC", "")
    return min(longest_s, int(wanted_us) / 2e6) if wanted_us.isdecimal() else longest_s
