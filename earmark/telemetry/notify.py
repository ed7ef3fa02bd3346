"""systemd's notify protocol: one datagram a message to the socket that ``NOTIFY_SOCKET`` names."""

import os
import socket


def notify(state: str) -> None:
    """Tell the service manager ``state``: ``READY=1``, ``WATCHDOG=1``, ``STOPPING=1``.

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
