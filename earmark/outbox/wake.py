"""A message without content that tells publishers to look into the outbox now. Losing one costs a poll, no event.

It is a datagram on a Unix socket, which is there as soon as it is sent. A ZeroMQ socket's own thread may have to wait
for the core of a busy engine.
"""

import fcntl
import os
import select
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq

from earmark.contracts.errors import ConfigError

_LONGEST_PATH = 100
"""A Unix socket's path has at most 107 bytes; the rest is headroom for libzmq."""


def path_beside(outbox: Path, what: str) -> Path:
    """Where a Unix socket beside an outbox lies.

    Raises:
        ConfigError: The path is too long for a Unix socket.
    """
    path = Path(f"{outbox.resolve()}.{what}")
    if len(str(path).encode()) > _LONGEST_PATH:
        raise ConfigError(
            f"expected a path of at most {_LONGEST_PATH} bytes for {path}; move the outbox to a shorter one"
        )
    return path


def connect_beside(channel: "zmq.Socket[Any]", outbox: Path, what: str) -> None:
    """Connect a ZeroMQ socket to what `bind_beside` bound or will bind.

    Raises:
        ConfigError: The path is too long for a Unix socket.
    """
    channel.connect(f"ipc://{path_beside(outbox, what)}")


def bind_beside(channel: "zmq.Socket[Any]", outbox: Path, what: str) -> None:
    """Bind a ZeroMQ socket for processes of the same user.

    Raises:
        ConfigError: The path is too long for a Unix socket.
    """
    path = path_beside(outbox, what)
    channel.bind(f"ipc://{path}")
    path.chmod(0o600)


class Waker:
    """An engine's end. Never blocks.

    Args:
        outbox: Beside which publishers listen, now or later.

    Raises:
        ConfigError: The path is too long for a Unix socket.
    """

    def __init__(self, outbox: Path) -> None:
        self._path = str(path_beside(outbox, "wake"))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0)

    def wake(self) -> None:
        """Tell whoever listens."""
        with suppress(OSError):  # nobody does, or so many wakes lie there already that no more fit
            self._socket.sendto(b"\0", self._path)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class WakeSignal:
    """The publishers' end: one an outbox, for each of its sinks has one cursor there.

    Args:
        outbox: Whose engines wake.

    Raises:
        ConfigError: Other publishers have the outbox, its lock cannot be written, or the path is too long for a Unix
            socket.
    """

    def __init__(self, outbox: Path) -> None:
        path = path_beside(outbox, "wake")
        self._lock = _lock(outbox)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.settimeout(0)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a message, at most ``timeout_s``, and swallow those that came with it; whether one came."""
        if not self._poll.poll(timeout_s * 1000):
            return False
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(1)
        return True

    def close(self) -> None:
        """Close the socket, and let others have the outbox."""
        self._socket.close()
        os.close(self._lock)


def _lock(outbox: Path) -> int:
    """A descriptor that keeps an outbox to these publishers; the system frees it when they die."""
    try:
        lock = os.open(f"{outbox}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"outbox.path: expected to write {outbox}.lock, got: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise ConfigError(
            f"outbox.path: expected an outbox of its own, got {outbox}, which other publishers have; is another "
            "`earmark run` up? stop it, or set outbox.path"
        ) from error
    return lock
