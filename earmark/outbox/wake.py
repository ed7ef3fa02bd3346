"""A message without content that tells publishers to look into the outbox now. Losing one costs a poll, no event.

Both ends keep the newest message only: a high-water mark of one would drop the newest instead, and with it the wake
that follows another closely.
"""

from pathlib import Path
from typing import Any

import zmq

from earmark.contracts.errors import ConfigError

_LONGEST_PATH = 100
"""A Unix socket's path has at most 107 bytes; the rest is headroom for libzmq."""


def address_beside(outbox: Path, what: str) -> str:
    """The IPC address of something beside an outbox.

    Raises:
        ConfigError: The path is too long for a Unix socket.
    """
    path = f"{outbox.resolve()}.{what}"
    if len(path.encode()) > _LONGEST_PATH:
        raise ConfigError(
            f"expected a path of at most {_LONGEST_PATH} bytes for {path}; move the outbox to a shorter one"
        )
    return f"ipc://{path}"


def bind_beside(channel: "zmq.Socket[Any]", outbox: Path, what: str) -> None:
    """Bind for processes of the same user.

    Raises:
        ConfigError: The path is too long for a Unix socket.
    """
    address = address_beside(outbox, what)
    channel.bind(address)
    Path(address.removeprefix("ipc://")).chmod(0o600)


class Waker:
    """An engine's end. Never blocks."""

    def __init__(self, context: "zmq.Context[Any]", outbox: Path) -> None:
        self._socket = context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.CONFLATE, 1)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(address_beside(outbox, "wake"))

    def wake(self) -> None:
        """Tell whoever listens."""
        self._socket.send(b"")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class WakeSignal:
    """The publishers' end: one a machine."""

    def __init__(self, context: "zmq.Context[Any]", outbox: Path) -> None:
        self._socket = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.CONFLATE, 1)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        bind_beside(self._socket, outbox, "wake")

    def wait(self, timeout_s: float) -> bool:
        """Wait for a message, at most ``timeout_s``, and swallow those that came with it; whether one came."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return False
        while self._socket.poll(0):
            self._socket.recv()
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
