"""What a sink in trouble costs the others: a webhook's server that fails in five ways, a broker that is killed.

The real publishers tell ZeroMQ, JSON Lines, a webhook and MQTT (a real mosquitto). Events are committed at an even pace
while one of them is in trouble; a subscriber of ZeroMQ, in a process of its own, notes when each came. Then the trouble
ends, and what the webhook and MQTT were told in all is held against what was committed.
"""

import argparse
import multiprocessing
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Generator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measuring import print_table, read_values, wait_until
from earmark.app.child import earmark_command
from earmark.benchmark.processes import free_ports
from earmark.benchmark.realtime import percentiles
from earmark.client import subscribe
from earmark.outbox.config import OutboxConfig
from publishers.deadletters import DeadLetters, DeadLettersConfig, dead_letters_path
from tests.publishers.mqtt.broker import Broker, Watcher
from tests.publishers.publishing import Engine
from tests.publishers.receiver import Answer, Receiver, answer, answer_late, drop, hang

EVENTS_PER_S = 50
HOOK = "webhook.all"
N_SINKS = 4
"""ZeroMQ, JSON Lines, the webhook, MQTT."""
_WITHIN_S = 120.0

WEBHOOK_TROUBLE: dict[str, Answer] = {
    "hangs": hang,
    "answers 500": answer(500),
    "answers too late": answer_late,
    "drops the connection": drop,
    "answers 410, which is final": answer(410),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of a webhook's trouble")
    parser.add_argument("--broker-seconds", type=float, default=60.0, help="of a broker that is away")
    arguments = parser.parse_args()
    if shutil.which("mosquitto") is None:
        parser.error("expected mosquitto to be installed: apt-get install mosquitto")
    rows = [_row("all is well", arguments.seconds, _well)]
    for name, fault in WEBHOOK_TROUBLE.items():
        rows.append(_row(f"the webhook's server {name}", arguments.seconds, partial(_failing_webhook, fault)))
    rows.append(_row("the broker is killed", arguments.broker_seconds, _no_broker))
    header = ["trouble", "for s", "events", "ZeroMQ p50 ms", "p99 ms"]
    header += ["webhook: told", "dead letters", "missing", "MQTT: told", "twice", "in order", "all told s after"]
    print_table(header, rows)


class Parts:
    """Publishers and who listens to them."""

    def __init__(self, folder: Path, undo: ExitStack) -> None:
        events, history, telemetry = free_ports(3)
        self.telemetry = f"127.0.0.1:{telemetry}"
        self.folder = folder
        self.outbox = OutboxConfig(path=folder / "o.db")
        self.engine = undo.enter_context(closing(Engine(self.outbox)))
        self.receiver = undo.enter_context(closing(Receiver()))
        (folder / "broker").mkdir()
        self.broker = Broker(folder / "broker").start()
        undo.callback(self.broker.stop)
        self.watcher = undo.enter_context(closing(Watcher(self.broker, "earmark/events")))
        undo.enter_context(_publishing(folder, self._configure(events, history)))
        wait_until(self.have_told, "the sinks")
        addresses = f"tcp://127.0.0.1:{events}", f"tcp://127.0.0.1:{history}"
        self.came = undo.enter_context(_subscriber(*addresses))

    def _configure(self, events: int, history: int) -> Path:
        document: dict[str, Any] = {
            "streams": {"nobody": {"source": "silence"}},
            "outbox": {"path": str(self.outbox.path)},
            "publishers": {
                "zeromq": {"bind": f"tcp://127.0.0.1:{events}", "history_bind": f"tcp://127.0.0.1:{history}"},
                "jsonl": {"path": str(self.folder / "events.jsonl")},
                "webhooks": {"all": {"url": self.receiver.url, "timeout_s": 2}},
                "mqtt": {"host": self.broker.host, "port": self.broker.port},
                "http": None,
            },
            "telemetry": {"streamer": "", "engine": "", "publishers": self.telemetry},
        }
        path = self.folder / "earmark.yaml"
        path.write_text(yaml.safe_dump(document), "utf-8")
        return path

    def have_told(self) -> bool:
        """Whether every sink is there and has told everything."""
        depths = read_values(self.telemetry, "earmark_sink_depth_events")
        return len(depths) == N_SINKS and not any(depths)


@contextmanager
def _well(_parts: Parts) -> Generator[None]:
    yield


@contextmanager
def _failing_webhook(fault: Answer, parts: Parts) -> Generator[None]:
    parts.receiver.decide = lambda _request: fault
    yield
    parts.receiver.decide = lambda _request: answer(200)


@contextmanager
def _no_broker(parts: Parts) -> Generator[None]:
    parts.watcher.settle()
    parts.broker.save()
    parts.broker.stop(signal.SIGKILL)
    yield
    parts.broker.start()


def _row(name: str, seconds: float, trouble: Callable[[Parts], AbstractContextManager[None]]) -> list[object]:
    with tempfile.TemporaryDirectory(prefix="earmark-outages-") as folder, ExitStack() as undo:
        parts = Parts(Path(folder), undo)
        with trouble(parts):
            committed_s = _commit(parts.engine, round(seconds * EVENTS_PER_S))
        healed_s = time.monotonic()
        wait_until(parts.have_told, "every sink to tell everything", _WITHIN_S)
        told_s = time.monotonic() - healed_s
        n_events = len(committed_s)
        wait_until(lambda: len({event["id"] for event in parts.watcher.events}) >= n_events, "MQTT's events", _WITHIN_S)
        came_s = dict(parts.came.get(timeout=_WITHIN_S) for _ in committed_s)
        p50_ms, p99_ms = percentiles([1000 * (came_s[seq] - at_s) for seq, at_s in committed_s.items()])
        told, dead = set(parts.receiver.seqs), _dead_letters(parts)
        seqs = [event["data"]["seq"] for event in parts.watcher.events]
        missing = committed_s.keys() - told - dead
        return [
            *(name, seconds, n_events, p50_ms, p99_ms),
            *(len(told), len(dead), len(missing)),
            *(len(set(seqs)), len(seqs) - len(set(seqs)), _is_in_order(seqs), round(told_s, 1)),
        ]


def _is_in_order(seqs: Collection[int]) -> bool:
    first_seen = list(dict.fromkeys(seqs))
    return first_seen == sorted(first_seen)


def _dead_letters(parts: Parts) -> set[int]:
    with closing(DeadLetters(dead_letters_path(parts.outbox), DeadLettersConfig())) as letters:
        return {letter.stored.seq for letter in letters.read(sink=HOOK)}


def _commit(engine: Engine, n_events: int) -> dict[int, float]:
    """When each event was given to the outbox, by its number."""
    began_s, pause = time.monotonic(), threading.Event()
    committed_s: dict[int, float] = {}
    for number in range(n_events):
        pause.wait(max(0.0, began_s + number / EVENTS_PER_S - time.monotonic()))
        committed_s[number + 1] = time.monotonic()
        engine.commit((f"s{number % 10}", "dog"))
    return committed_s


@contextmanager
def _publishing(folder: Path, config: Path) -> Generator[None]:
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(earmark_command("publish", str(config)), stdout=log, stderr=log)  # noqa: S603 -- our own
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def _subscriber(events_at: str, history_at: str) -> "Generator[Queue[tuple[int, float]]]":
    context = multiprocessing.get_context("spawn")
    came: Queue[tuple[int, float]] = context.Queue()
    process = context.Process(target=_listen, args=(events_at, history_at, came), daemon=True)
    process.start()
    if came.get(timeout=_WITHIN_S)[0] != 0:
        raise RuntimeError("expected the subscriber to say first that it listens")
    try:
        yield came
    finally:
        process.kill()
        process.join()


def _listen(events_at: str, history_at: str, came: "Queue[tuple[int, float]]") -> None:
    with subscribe(events_at, history_at, since=0) as subscription:
        came.put((0, 0.0))
        for event in subscription:
            came.put((event.seq, time.monotonic()))


if __name__ == "__main__":
    main()
