"""Real parts for these tests: an outbox that is written to, and publishers in a thread or a process."""

import json
import subprocess
import sys
import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from earmark.client import Subscription, subscribe
from earmark.contracts.curve import CurveServer
from earmark.contracts.errors import EarmarkError
from earmark.contracts.events import SoundEvent
from earmark.outbox import Outbox, StreamCommit, Waker
from earmark.outbox.config import OutboxConfig
from publishers.clips.config import ClipsConfig
from publishers.config import JsonlConfig, PublishersConfig, ZeroMqConfig
from publishers.http.about import About
from publishers.http.config import HttpConfig
from publishers.service import Publishers
from tests.support.events import make_event
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S


class Engine:
    """Commits events as the engine does, and wakes the publishers."""

    def __init__(self, config: OutboxConfig, zones: Mapping[str, Collection[str]] | None = None) -> None:
        self.config = config
        self._zones = zones
        self._waker = Waker(config.path)
        self._numbers = iter(range(1, 10**9))
        self._open()

    def _open(self) -> None:
        self._outbox = Outbox(self.config.path, zones=self._zones, fusion_ms=1000)
        self._revisions: dict[str, int] = {}

    def commit(self, *sounds: tuple[str, str], n: int = 1) -> None:
        """``n`` events of each (stream, label), ``gate/dog`` where none is named; one transaction each."""
        for _ in range(n):
            for stream, label in sounds or [("gate", "dog")]:
                event = make_event(next(self._numbers), stream, label)
                revision = self._revisions.get(stream, 0)
                assert not self._outbox.commit([StreamCommit(stream, revision, None, [event])])
                self._revisions[stream] = revision + 1
        self._waker.wake()

    def commit_many(self, n: int, stream: str = "bulk") -> None:
        """``n`` events in one transaction, and no message."""
        revision = self._revisions.get(stream, 0)
        events = [make_event(next(self._numbers), stream) for _ in range(n)]
        assert not self._outbox.commit([StreamCommit(stream, revision, None, events)])
        self._revisions[stream] = revision + 1

    def spoil(self, seq: int, field: str = "colour", value: str = "red") -> None:
        """Make an event one that another release wrote: with a field, or a value, that nobody here knows."""
        statement = f"UPDATE events SET body = json_set(body, '$.{field}', ?) WHERE seq = ?"  # noqa: S608 -- ours
        assert self._outbox._connection.execute(statement, (value, seq)).rowcount == 1

    def settle(self) -> None:
        """The zones' events are over."""
        assert self._outbox.settle(is_last=True)
        self._waker.wake()

    def forget(self) -> None:
        """Retention removes all there is."""
        while self._outbox.prune(-1.0, 10**12):
            pass

    def replace(self) -> None:
        """Somebody puts a new outbox in the old one's place."""
        self._outbox.close()
        for path in self.config.path.parent.glob(self.config.path.name + "*"):
            if path.suffix != ".wake" and ".cursors" not in path.name:
                path.unlink()
        self._open()

    def close(self) -> None:
        self._outbox.close()
        self._waker.close()


class Service:
    """Publishers in a thread, started and stopped at will on the same addresses."""

    def __init__(
        self,
        outbox: OutboxConfig,
        *,
        jsonl: Path | None = None,
        http: HttpConfig | None = None,
        about: About | None = None,
        clips: ClipsConfig | None = None,
        curve: CurveServer | None = None,
    ) -> None:
        self.zeromq = ZeroMqConfig(bind=free_address(), history_bind=free_address(), curve=curve)
        files = None if jsonl is None else JsonlConfig(path=jsonl)
        self.config = PublishersConfig(zeromq=self.zeromq, http=http, jsonl=files, clips=clips)
        self._outbox = outbox
        self._about = about
        self._thread: threading.Thread | None = None

    def start(self) -> "Service":
        self._stop, ready = threading.Event(), threading.Event()
        self.error: EarmarkError | None = None
        self._thread = threading.Thread(target=self._run, args=(ready,))
        self._thread.start()
        assert ready.wait(DEADLINE_S)
        if self.error is not None:
            raise self.error
        return self

    def _run(self, ready: threading.Event) -> None:
        try:
            self.publishers = Publishers(self.config, self._outbox, self._about)
            self.publishers.run(self._stop, on_ready=ready.set)
        except EarmarkError as error:
            self.error = error
        finally:
            ready.set()

    def stop(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join(DEADLINE_S)
            assert not self._thread.is_alive()
            self._thread = None
            if self.error is not None:
                raise self.error

    def subscribe(self, **options: object) -> Subscription:
        return subscribe(self.zeromq.bind, self.zeromq.history_bind, **{"timeout_s": DEADLINE_S, **options})


_CHILD = """
import sys, threading
from earmark.outbox.config import OutboxConfig
from earmark.telemetry.logs import configure_logging
from publishers.config import PublishersConfig
from publishers.service import Publishers
configure_logging("publishers")
config, outbox = PublishersConfig.model_validate_json(sys.argv[1]), OutboxConfig.model_validate_json(sys.argv[2])
Publishers(config, outbox).run(threading.Event(), on_ready=lambda: print("ready", flush=True))
"""


class Child:
    """Publishers in a process that can be killed."""

    def __init__(self, config: PublishersConfig, outbox: OutboxConfig) -> None:
        arguments = [config.model_dump_json(), outbox.model_dump_json()]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._wait_ready()

    def _wait_ready(self) -> None:
        assert self.process.stdout is not None
        lines = iter(self.process.stdout.readline, b"")
        assert any(line == b"ready\n" for line in lines), "the publishers did not start"
        self._drain = threading.Thread(target=lambda: [None for _ in lines])
        self._drain.start()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self._drain.join(DEADLINE_S)
        with suppress(AttributeError):
            self.process.stdout.close()


def take(subscription: Iterable[SoundEvent], n: int) -> list[int]:
    """The ``seq`` of the next ``n`` events; fewer if they do not come."""
    events = iter(subscription)
    return [event.seq for _, event in zip(range(n), events, strict=False)]


def seqs(path: Path) -> list[int]:
    data = path.read_bytes()
    assert data.endswith(b"\n") or not data
    return [json.loads(line)["seq"] for line in data.splitlines()]
