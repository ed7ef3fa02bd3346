"""Earmark's own processes over a configuration in a folder, each on the core that it is given."""

import os
import random
import socket
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from earmark.app.child import Child, earmark_command
from earmark.benchmark.measuring import wait_until
from earmark.benchmark.pinning import pinned
from earmark.contracts.bundle import Bundle

_STOP_WITHIN_S = 10.0
_PORTS = range(20_000, 32_000, 2)
"""Below those that Linux gives to connections, one of which could come before the process that is to listen."""
_NOBODY = {"nobody": {"source": "silence"}}
"""A service has a stream at least; nobody sends this one."""


class Service:
    """What runs, and where. Addresses are of the loopback interface, at free ports.

    Args:
        folder: For the configuration, the outbox and the processes' sockets.
        bundle: What the engine runs.
        streams: The section ``streams``.
    """

    def __init__(self, folder: Path, bundle: Bundle, streams: Mapping[str, Any] | None = None) -> None:
        self.engine_at, self.events_at, self.history_at, telemetry = (f"127.0.0.1:{port}" for port in free_ports(4))
        self.metrics_at = telemetry
        self.config = folder / "earmark.yaml"
        document: dict[str, Any] = {
            "streams": dict(streams or _NOBODY),
            "streamer": {"engines": [f"tcp://{self.engine_at}"]},
            "engine": {
                "bind": [f"tcp://{self.engine_at}"],
                "bundle": str(bundle.folder.absolute()),
                "runtime": "onnxruntime",
            },
            "outbox": {"path": str(folder / "outbox.db")},
            "publishers": {
                "zeromq": {"bind": f"tcp://{self.events_at}", "history_bind": f"tcp://{self.history_at}"},
                "http": None,
            },
            "telemetry": {"streamer": "", "engine": telemetry, "publishers": ""},
        }
        self.config.write_text(yaml.safe_dump(document), "utf-8")
        self._lifeline, self._lifeline_end = os.pipe()
        self._children: dict[str, Child] = {}
        self.engine_pid = 0
        """Of the engine's process; 0 before it is started."""

    def start(self, name: Literal["engine", "publish"], core: int) -> None:
        """Start one on a core and wait until it is ready.

        Raises:
            TimeoutError: It never was.
        """
        child = Child(name, earmark_command(name, str(self.config)), self._lifeline)
        self._children[name] = child
        with pinned(core):
            child.start()

        def is_ready() -> bool:
            child.hear()
            return child.is_ready

        wait_until(is_ready, f"`earmark {name}` to be ready")
        if name == "engine":
            self.engine_pid = child.pid or 0

    def close(self) -> None:
        """End all."""
        for child in self._children.values():
            child.stop(_STOP_WITHIN_S)
        os.close(self._lifeline)
        os.close(self._lifeline_end)


@contextmanager
def running(bundle: Bundle, streams: Mapping[str, Any] | None = None) -> Generator[Service]:
    """A `Service` in a folder of its own, ended at the end."""
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        service = Service(Path(folder), bundle, streams)
        try:
            yield service
        finally:
            service.close()


def free_ports(n: int) -> list[int]:
    """So many loopback ports that are free now, and the one behind each of them is too."""
    held: list[socket.socket] = []
    found: list[int] = []
    try:
        while len(found) < n:
            port = random.choice(_PORTS)  # noqa: S311 -- no secret
            if _hold(held, port) and _hold(held, port + 1):
                found.append(port)
    finally:
        for each in held:
            each.close()
    return found


def _hold(held: list[socket.socket], port: int) -> bool:
    """Bind a port; whether it was free."""
    holder = socket.socket()
    held.append(holder)
    try:
        holder.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
