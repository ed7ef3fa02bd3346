"""A whole service to break: real processes under their own supervisor, a network, a disk and a clock of their own."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import zmq

from earmark.benchmark.measuring import read_page, read_values, wait_until
from earmark.chaos.proxy import Proxy
from earmark.chaos.schedule import ENGINE, PUBLISHERS, STREAMER
from earmark.chaos.staging import Addresses, Staging, free_ports, idle_streams, write_config
from earmark.chaos.wallclock import WallClock
from earmark.client import subscribe
from earmark.contracts.errors import ConfigError, OutboxError, OutboxFullError
from earmark.contracts.events import SoundEvent
from earmark.outbox import Outbox, OutboxReader
from streamer.sender import find_engine

BYTES_S = 320_000.0
"""What a proxy lets through to an engine: ten times one stream's own pace."""
DISK_MB = 8
_READY_S = 120.0
_STARTS = 3
_STOP_S = 20.0
_COMMANDS = {STREAMER: "stream", ENGINE: "engine", PUBLISHERS: "publish"}


def can_mount() -> bool:
    """Whether a small disk of its own can be made here."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


class Audience(threading.Thread):
    """A subscriber that comes back with ``since`` whenever nothing came for a second."""

    def __init__(self, address: str, history: str) -> None:
        super().__init__(name="audience", daemon=True)
        self.events: list[SoundEvent] = []
        self._addresses = address, history
        self._is_over = threading.Event()

    def run(self) -> None:
        """Listen."""
        since: int | None = 0
        outbox: str | None = None
        while not self._is_over.is_set():
            with subscribe(*self._addresses, since=since, timeout_s=1.0, outbox=outbox) as subscription:
                for event in subscription:
                    self.events.append(event)
                since, outbox = subscription.covered or since, subscription.outbox or outbox

    def close(self) -> None:
        """Stop listening."""
        self._is_over.set()
        self.join(_STOP_S)


class Lab:
    """One service, from its start to its end.

    Args:
        staging: What it runs.
        folder: Its own; with a short path, for Unix sockets.
    """

    def __init__(self, staging: Staging, folder: Path) -> None:
        self.staging = staging
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        self.has_disk = can_mount()
        self.was_switched_off = False
        """Whether a supervisor died with all its children; a new one counts from 0."""
        self._epochs: dict[str, list[int]] = {}
        self._read_bytes = 0
        n_engines = len(staging.config.engine.bind) if staging.config.engine.shards else 1
        self.sent_bad = [0] * n_engines
        """Messages sent to each engine that nobody can read."""
        with contextlib.ExitStack() as undo:
            self.clock = WallClock(folder) if WallClock.is_possible() else None
            if self.clock is not None:
                undo.callback(self.clock.close)
            if self.has_disk:
                self._mount("-t", "tmpfs", "-o", f"size={DISK_MB}m", "none")
                undo.callback(self.release_disk, all_of_it=True)
            self.addresses = Addresses.free(n_engines)
            self.proxies: list[Proxy] = []
            for port in self.addresses.engines:
                self.proxies.append(Proxy(free_ports(1)[0], port, BYTES_S))
                undo.callback(self.proxies[-1].close)
            self._engines = engines = [proxy.address for proxy in self.proxies]
            self.idle = idle_streams(engines)
            self.config = write_config(staging, folder, self.state, self.addresses, engines)
            self._log = undo.enter_context((folder / "log").open("ab"))
            undo.callback(self._end)
            self._context = undo.enter_context(zmq.Context[Any]())
            self._peers = [self._context.socket(zmq.PUSH) for _ in engines]
            for peer, port in zip(self._peers, self.addresses.engines, strict=True):
                undo.enter_context(peer)
                peer.setsockopt(zmq.LINGER, 0)
                peer.connect(f"tcp://127.0.0.1:{port}")
            self._process = self._start()
            self.wait_until_ready()
            self.outbox = undo.enter_context(contextlib.closing(Outbox(self.state / "outbox.db")))
            self.audience = Audience(self.addresses.events_at, self.addresses.history_at)
            self.audience.start()
            undo.callback(self.audience.close)
            self._undo = undo.pop_all()

    def close(self) -> None:
        """End everything."""
        self._undo.close()

    # Processes.

    def _start(self) -> "subprocess.Popen[bytes]":
        environment = dict(os.environ) if self.clock is None else self.clock.environment
        return subprocess.Popen(  # noqa: S603 -- our own command line
            [sys.executable, "-P", "-m", "earmark.chaos.service", str(self.config)],
            env={**environment, "EARMARK_LOG_LEVEL": "info", "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=self._log,
            start_new_session=True,
        )

    def pids(self) -> dict[str, int]:
        """Of the children that run now: ``streamer``, ``engine-0``, ``publishers`` and so on."""
        found: dict[str, int] = {}
        parent = self._process.pid
        with contextlib.suppress(OSError):
            for pid in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()):
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_text("utf-8").split("\0")
                    found |= dict.fromkeys(_names(words), pid)
        return found

    def pick(self, target: str, chance: float) -> str:
        """The process that a fault means by ``target``: one of the engines where there are several."""
        return f"{ENGINE}-{int(chance * len(self.proxies))}" if target == ENGINE else target

    def switch_off(self) -> None:
        """Kill the supervisor and all its children at once, as a power cut would, and start again."""
        self.was_switched_off = True
        victims = [self._process.pid, *self.pids().values()]
        self._process.send_signal(signal.SIGSTOP)  # it must not start anybody while they die
        for pid in [*victims[1:], *self.pids().values(), victims[0]]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(_STOP_S)
        wait_until(lambda: not any(_is_alive(pid) for pid in victims), "the killed processes to be gone")
        self._process = self._start()

    def hurry(self) -> None:
        """Let scenes through as fast as they go."""
        for proxy in self.proxies:
            proxy.bytes_s = None

    def play_again(self) -> None:
        """Let every scene be heard from its begin, at the lab's pace, by another streamer."""
        for proxy in self.proxies:
            proxy.bytes_s = BYTES_S
        n_before = {name: len(numbers) for name, numbers in self.epochs().items()}
        os.kill(self.pids()[STREAMER], signal.SIGTERM)
        wait_until(lambda: all(len(self.epochs()[name]) > n for name, n in n_before.items()), "another streamer")

    def telemetry_at(self, name: str) -> str:
        """Where a process tells about itself."""
        if not name.startswith(ENGINE):
            return self.addresses.telemetry[name]
        host, _, port = self.addresses.telemetry[ENGINE].rpartition(":")
        return f"{host}:{int(port) + 10 * int(name.rpartition('-')[2])}"

    @property
    def names(self) -> list[str]:
        """Of all children."""
        return [STREAMER, *(f"{ENGINE}-{i}" for i in range(len(self.proxies))), PUBLISHERS]

    def is_ready(self) -> bool:
        """Whether every process says so."""
        return all(read_page(self.telemetry_at(name), "readyz")[0] == 200 for name in self.names)

    def wait_until_ready(self) -> None:
        """Wait for it.

        Raises:
            ConfigError: The service ended instead.
            TimeoutError: It never is.
        """

        def is_up() -> bool:
            if (code := self._process.poll()) is not None:
                raise ConfigError(f"expected a service that runs, got exit code {code}: {self.log_text()[-1000:]}")
            return self.is_ready()

        wait_until(is_up, "every process to be ready", _READY_S)

    def stop(self) -> int:
        """SIGTERM to the supervisor; its exit code."""
        self._process.terminate()
        return self._process.wait(_STOP_S)

    def _end(self) -> None:
        """End it however it stands, children that are stopped too."""
        pids = self.pids().values()
        self._process.kill()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(_STOP_S)

    # The disk.

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments, str(self.state)], check=True, capture_output=True)  # noqa: S603, S607

    def fill_disk(self) -> None:
        """Leave no byte."""
        with (self.state / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(bytes(4096)):
                pass

    def free_disk(self) -> None:
        """Give back what `fill_disk` took."""
        (self.state / "filler").unlink(missing_ok=True)

    def protect_disk(self) -> None:
        """Whoever opens a file on it from now on cannot write."""
        self._mount("--bind", str(self.state))
        self._mount("-o", "remount,bind,ro")

    def release_disk(self, *, all_of_it: bool = False) -> None:
        """Undo `protect_disk`, or give up the disk."""
        while (
            subprocess.run(  # noqa: S603
                ["umount", "--lazy", str(self.state)],  # noqa: S607
                check=False,
                capture_output=True,
            ).returncode
            == 0
            and all_of_it
        ):
            pass

    # What it tells.

    def send_bad(self, engine: int, message: bytes) -> None:
        """Send what nobody can read to an engine, past the proxy, as any program on the network could."""
        self.sent_bad[engine] += self._send(engine, message)

    def send_home(self, stream: str, message: bytes) -> None:
        """Send to the engine of a stream."""
        self._send(self._engines.index(find_engine(stream, self._engines)), message)

    def _send(self, engine: int, message: bytes) -> bool:
        try:
            self._peers[engine].send(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def log_text(self) -> str:
        """What all processes said."""
        return (self.folder / "log").read_text("utf-8", errors="replace")

    def epochs(self) -> dict[str, list[int]]:
        """Of each stream, in the order in which streamers began them."""
        with (self.folder / "log").open("rb") as log:
            log.seek(self._read_bytes)
            lines = log.read().splitlines(keepends=True)
        for line in lines:
            if not line.endswith(b"\n"):
                break
            self._read_bytes += len(line)
            if b"stream starts" in line:
                entry = json.loads(line)
                self._epochs.setdefault(entry["stream"], []).append(int(entry["epoch"], 16))
        return self._epochs

    def revisions(self) -> dict[str, int]:
        """How often each idle stream was committed; -1 while the disk does not let us look."""
        try:
            return {name: self.outbox.load(name).revision for name in self.idle}
        except (OutboxError, OutboxFullError):
            return dict.fromkeys(self.idle, -1)

    def stored_events(self) -> list[SoundEvent]:
        """The outbox."""
        with contextlib.closing(OutboxReader(self.state / "outbox.db")) as reader:
            return [stored.event for stored in reader.read(0, 1_000_000)]

    def lines(self) -> list[str]:
        """Of the events' file, complete ones."""
        path = self.state / "events.jsonl"
        return path.read_text("utf-8").splitlines() if path.exists() else []

    def newest_seq(self) -> int:
        """Of the outbox."""
        with contextlib.closing(OutboxReader(self.state / "outbox.db")) as reader:
            return reader.newest_seq()

    def sinks_have(self, seq: int) -> bool:
        """Whether both have taken everything through ``seq``."""
        heard = self.audience.events
        if seq == 0:
            return True
        return bool(heard) and heard[-1].seq >= seq and len(self.lines()) >= seq

    def restarts(self, name: str) -> float:
        """How often a child was started again."""
        restarts, page = "earmark_process_restarts_total", self.addresses.telemetry["supervisor"]
        called = {name, name.partition("-")[0]}  # an engine that is alone has no number
        return sum(sum(read_values(page, restarts, process=each)) for each in called)

    def values(self, name: str, metric: str, **labels: str) -> float:
        """The sum of a metric on a process's page."""
        return sum(read_values(self.telemetry_at(name), metric, **labels))


def _names(words: Sequence[str]) -> list[str]:
    """What a command line is called here, if it is one of ours."""
    for name, command in _COMMANDS.items():
        if "earmark.app" in words and command in words:
            shard = words[words.index("--shard") + 1] if "--shard" in words else "0"
            return [f"{name}-{shard}" if name == ENGINE else name]
    return []


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def limit(pid: int, what: int, soft: int) -> int:
    """Set another process's soft limit; the one that it had."""
    before, hard = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, hard))
    return before


@contextlib.contextmanager
def lab(staging: Staging) -> Generator[Lab]:
    """A lab in a folder of its own, ended at the end. Where somebody takes one of its ports first, it takes others."""
    with tempfile.TemporaryDirectory(prefix="earmark-chaos-", ignore_cleanup_errors=True) as folder:
        made = _begin(staging, Path(folder))
        try:
            yield made
        finally:
            made.close()


def _begin(staging: Staging, folder: Path) -> Lab:
    for start in range(_STARTS - 1):
        with contextlib.suppress(ConfigError, OSError):
            return Lab(staging, folder / str(start))
    return Lab(staging, folder / "last")
