"""Earmark's real processes over one configuration, each to be started, stopped and killed by a test."""

import json
import os
import signal
import subprocess
import threading
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from earmark.app.child import Child, earmark_command
from earmark.outbox import OutboxReader
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S


def write_wav(path: Path, pcm: NDArray[np.int16], sample_rate_hz: int = 16_000) -> Path:
    """A mono WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())
    return path


PROCESSES = ("streamer", "engine", "publishers", "supervisor")


class Machine:
    """A folder with a configuration, and the processes that run it.

    Args:
        folder: For the configuration, the outbox and the processes' sockets.
        streams: The section ``streams``.
        bundle: Name or folder of the bundle.
        sections: What else the configuration says, by section.
    """

    def __init__(
        self, folder: Path, streams: dict[str, Any], bundle: str | Path = "urban", **sections: dict[str, Any]
    ) -> None:
        self.folder = folder
        self.outbox = folder / "outbox.db"
        self.events_at, self.history_at = free_address(), free_address()
        self.engine_at = free_address()
        self.telemetry = {name: free_address().removeprefix("tcp://") for name in PROCESSES}
        document: dict[str, Any] = {
            "streams": streams,
            "streamer": {"engines": [self.engine_at], **sections.get("streamer", {})},
            "engine": {"bind": [self.engine_at], "bundle": str(bundle), **sections.get("engine", {})},
            "outbox": {"path": str(self.outbox), **sections.get("outbox", {})},
            "publishers": {"zeromq": {"bind": self.events_at, "history_bind": self.history_at}, "http": None},
            "telemetry": self.telemetry,
        }
        self.config = folder / "earmark.yaml"
        self._document = document
        self.use_engine(self.engine_at)
        self._lifeline, self._lifeline_end = os.pipe()
        self._children: dict[str, Child] = {}
        self._subscribers: list[Subscriber] = []

    def use_engine(self, address: str) -> None:
        """Make the streamer send to ``address``; before it is started."""
        self._document["streamer"]["engines"] = [address]
        self.config.write_text(yaml.safe_dump(self._document))

    def start(self, name: str, *arguments: str) -> None:
        """Start ``stream``, ``engine`` or ``publish`` (again) and wait until it is ready."""
        if name not in self._children:
            command = earmark_command(name, str(self.config), *arguments)
            self._children[name] = Child(name, command, self._lifeline)
        child = self._children[name]
        child.start()
        self._until(lambda: child.is_ready, child, "ready")

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self._children[name].kill()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal."""
        pid = self._children[name].pid
        assert pid is not None
        os.kill(pid, number)

    def wait_for_end(self, name: str) -> int:
        """The exit code of a process that ends by itself."""
        child = self._children[name]
        self._until(lambda: child.exit_code() is not None, child, "ended", may_end=True)
        code = child.exit_code()
        assert code is not None
        return code

    def pid(self, name: str) -> int:
        """Of a running process."""
        pid = self._children[name].pid
        assert pid is not None
        return pid

    def subscribe(self, *arguments: str) -> "Subscriber":
        """Start a subscriber process."""
        made = Subscriber(self, arguments)
        self._subscribers.append(made)
        return made

    def newest_seq(self) -> int:
        """Of the outbox."""
        reader = OutboxReader(self.outbox)
        try:
            return reader.newest_seq()
        finally:
            reader.close()

    def close(self) -> None:
        """End everything."""
        for subscriber in self._subscribers:
            subscriber.close()
        for child in self._children.values():
            child.kill()
            child.close()
        os.close(self._lifeline)
        os.close(self._lifeline_end)

    @staticmethod
    def _until(condition: Any, child: Child, what: str, *, may_end: bool = False) -> None:
        give_up_s = time.monotonic() + DEADLINE_S
        tick = threading.Event()
        while not condition():
            child.hear()
            assert time.monotonic() < give_up_s, f"{child.name} never {what}"
            assert may_end or child.exit_code() is None, f"{child.name} ended with {child.exit_code()}"
            tick.wait(0.02)


class Subscriber:
    """``earmark subscribe`` in a process of its own."""

    def __init__(self, machine: Machine, arguments: tuple[str, ...]) -> None:
        addresses = ("--address", machine.events_at, "--history", machine.history_at)
        command = earmark_command("subscribe", *addresses, "--format", "jsonl", *arguments)
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.events: list[dict[str, Any]] = []
        self._came = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, condition: Any) -> None:
        """Wait until ``condition(events)`` holds."""
        with self._came:
            assert self._came.wait_for(lambda: condition(self.events), DEADLINE_S), f"got {len(self.events)} events"

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._came:
                self.events.append(json.loads(line))
                self._came.notify_all()


@contextmanager
def running(folder: Path, streams: dict[str, Any], **options: Any) -> Iterator[Machine]:
    """A `Machine` that is ended at the end."""
    machine = Machine(folder, streams, **options)
    try:
        yield machine
    finally:
        machine.close()
