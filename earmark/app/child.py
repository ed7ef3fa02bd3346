"""One process of the service, as its supervisor sees it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import earmark
from earmark.app.lifeline import LIFELINE_VARIABLE
from earmark.app.process import RELOAD_DONE, RELOAD_REFUSED
from earmark.telemetry.notify import DESCRIPTOR_VARIABLE

_LONGEST_DATAGRAM = 4096
_LOOK_AGAIN_S = 0.1


def earmark_command(*arguments: str) -> tuple[str, ...]:
    """The command line of a child that runs the same code as this process, and nothing of the working directory's."""
    return (sys.executable, "-P", "-m", "earmark.app", *arguments)


def _environment() -> dict[str, str]:
    root = str(Path(earmark.__file__).parent.parent)
    path = os.environ.get("PYTHONPATH", "")
    own = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    return {**own, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


class Child:
    """A process that can be started again and again, and what it last said.

    Args:
        name: Names it in logs and metrics.
        command: Its command line.
        lifeline: Reading end of a pipe that closes when the supervisor dies.
        descriptors: More that it inherits, under the same numbers.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        lifeline: int,
        descriptors: Sequence[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._command = command
        self._lifeline = lifeline
        self._descriptors = tuple(descriptors)
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self.starts = 0
        """How often it was started."""
        self.is_ready = False
        """Whether the running process said READY."""
        self.was_ready = False
        """Whether any of its processes ever did."""
        self.reloaded: bool | None = None
        """Whether it took over the configuration that it was last told to read; None before it answers."""
        self.heard_s = self.started_s = 0.0
        """When it last said anything, and when it was started."""
        self._ready_s: float | None = None

    @property
    def pid(self) -> int | None:
        """Of the running process; None when there is none."""
        return None if self._process is None else self._process.pid

    @property
    def channel(self) -> socket.socket | None:
        """Where its words arrive."""
        return self._socket

    def start(self) -> None:
        """Start the process, with a notify socket of its own so that a dead one's last words do not count."""
        self.close()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs:
            for end in (self._socket, theirs):
                end.setblocking(False)  # noqa: FBT003 -- its only argument
            number = theirs.fileno()
            environment = {
                **_environment(),
                DESCRIPTOR_VARIABLE: str(number),
                LIFELINE_VARIABLE: str(self._lifeline),
            }
            # In a session of its own: Ctrl-C reaches the supervisor alone, which ends its children in order.
            self._process = subprocess.Popen(  # noqa: S603 -- our own command line
                self._command,
                env=environment,
                pass_fds=(self._lifeline, number, *self._descriptors),
                start_new_session=True,
            )
        self.starts += 1
        self.is_ready = False
        self.reloaded = self._ready_s = None
        self.heard_s = self.started_s = self._clock()

    def hear(self) -> None:
        """Take in what it said since the last call."""
        while self._socket is not None:
            try:
                words = self._socket.recv(_LONGEST_DATAGRAM).split(b"\n")
            except BlockingIOError:
                return
            self.heard_s = self._clock()
            if b"READY=1" in words and not self.is_ready:
                self.is_ready = self.was_ready = True
                self._ready_s = self.heard_s
            if RELOAD_DONE.encode() in words:
                self.reloaded = True
            elif RELOAD_REFUSED.encode() in words:
                self.reloaded = False

    @property
    def worked_s(self) -> float:
        """How long the process has been ready."""
        return 0.0 if self._ready_s is None else self._clock() - self._ready_s

    def reload(self) -> None:
        """Tell the process, which is ready, to read its configuration again."""
        self.reloaded = None
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def exit_code(self) -> int | None:
        """How the process ended, negative for a signal; None while it runs or when there is none."""
        return None if self._process is None else self._process.poll()

    def stop(self, within_s: float, at_once: Callable[[], bool] = lambda: False) -> bool:
        """Ask the process to end, and kill it after ``within_s`` or ``at_once``; whether it ended by itself."""
        if self._process is None:
            return True
        self._process.terminate()
        until_s = time.monotonic() + within_s
        try:
            while self._process.poll() is None:
                if at_once() or (left_s := until_s - time.monotonic()) <= 0:
                    self.kill()
                    return False
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(min(left_s, _LOOK_AGAIN_S))
        finally:
            self.close()
        return True

    def kill(self) -> None:
        """End the process now, also one that is stopped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Forget the process, which must have ended, and its socket."""
        self._process = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
