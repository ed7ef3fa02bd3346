"""Every sink at once, 1,000 events a second for a minute: what each of them got, and what the publishers cost.

A process commits onsets as engines do. The real publishers tell ZeroMQ, JSON Lines, a webhook that takes batches, MQTT
(a real mosquitto) and server-sent events; the subscribers are threads of one more process. Mosquitto must be installed.
"""

import argparse
import json
import multiprocessing
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as mqtt
import yaml

from benchmarks.measuring import print_table, read_values, wait_until
from earmark.app.child import earmark_command
from earmark.benchmark.measuring import cpu_seconds
from earmark.benchmark.processes import free_ports
from earmark.client import subscribe
from earmark.contracts.events import SoundEvent, event_id
from earmark.contracts.streams import format_epoch
from earmark.outbox import Outbox, StreamCommit, Waker

N_STREAMS, COMMIT_S = 50, 0.02
SINKS = ("zeromq", "jsonl", "webhook-all", "mqtt")
_DEADLINE_S = 120.0


@dataclass(frozen=True)
class Ports:
    """Of this machine, all free."""

    broker: int
    hook: int
    page: int
    events: int
    history: int
    telemetry: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events-per-s", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    if shutil.which("mosquitto") is None:
        parser.error("expected mosquitto to be installed: apt-get install mosquitto")
    with tempfile.TemporaryDirectory(prefix="earmark-sinks-") as folder:
        _measure(Path(folder), arguments.events_per_s, arguments.seconds)


def _measure(folder: Path, per_s: int, seconds: int) -> None:
    ports = Ports(*free_ports(6))
    config = _configure(folder, ports)
    mosquitto = _start_broker(folder, ports.broker)
    context = multiprocessing.get_context("spawn")
    told: Queue[Any] = context.Queue()
    listeners = context.Process(target=_listen, args=(told, ports, per_s * seconds))
    outbox_path = folder / "o.db"
    with closing(Outbox(outbox_path)) as outbox, (folder / "log").open("w", encoding="utf-8") as log:
        publishers = subprocess.Popen(earmark_command("publish", str(config)), stdout=log, stderr=log)  # noqa: S603 -- our own
        try:
            wait_until(lambda: _is_up(ports.page), "the publishers to be ready")
            listeners.start()
            told.get(timeout=_DEADLINE_S)
            began_s, cpu_s = time.monotonic(), cpu_seconds(publishers.pid)
            committed = _commit(outbox, outbox_path, per_s, seconds)
            wait_until(lambda: _depth(ports.telemetry) == 0, "the outbox to be told", _DEADLINE_S)
            told_s, spent_s = time.monotonic() - began_s, cpu_seconds(publishers.pid) - cpu_s
            got = told.get(timeout=_DEADLINE_S)
            got["jsonl"] = [json.loads(line)["event_id"] for line in (folder / "events.jsonl").read_text().splitlines()]
        finally:
            for process in (publishers, mosquitto):
                process.terminate()
                process.wait(20)
            listeners.kill()
    rows = [
        [name, len(ids), len(ids) - len(set(ids)), len(committed - set(ids)), sorted(ids) == sorted(set(committed))]
        for name, ids in sorted(got.items())
    ]
    print_table(["sink", "events", "twice", "missing", "each once"], rows)
    per_event_us = 1e6 * spent_s / len(committed)
    print(
        f"{len(committed)} events in {seconds} s, all told after {told_s:.1f} s; "
        f"publishers took {spent_s / told_s:.0%} of a core, {per_event_us:.0f} us an event for all sinks"
    )


def _configure(folder: Path, ports: Ports) -> Path:
    document: dict[str, Any] = {
        "streams": {"nobody": {"source": "silence"}},
        "outbox": {"path": str(folder / "o.db")},
        "publishers": {
            "zeromq": {"bind": f"tcp://127.0.0.1:{ports.events}", "history_bind": f"tcp://127.0.0.1:{ports.history}"},
            "jsonl": {"path": str(folder / "events.jsonl")},
            "webhooks": {"all": {"url": f"http://127.0.0.1:{ports.hook}/", "mode": "batch"}},
            "mqtt": {"host": "127.0.0.1", "port": ports.broker},
            "http": {"bind": f"127.0.0.1:{ports.page}"},
        },
        "telemetry": {"streamer": "", "engine": "", "publishers": f"127.0.0.1:{ports.telemetry}"},
    }
    path = folder / "earmark.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    return path


def _start_broker(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    path = folder / "mosquitto.conf"
    path.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n", "utf-8")
    return subprocess.Popen(["mosquitto", "-c", str(path)], stderr=subprocess.DEVNULL)  # noqa: S603, S607 -- the user's


def _is_up(page: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{page}/readyz", timeout=1).is_success
    except httpx.HTTPError:
        return False


def _depth(telemetry: int) -> float:
    depths = [read_values(f"127.0.0.1:{telemetry}", "earmark_sink_depth_events", sink=sink) for sink in SINKS]
    return sum(map(sum, depths))


def _commit(outbox: Outbox, path: Path, per_s: int, seconds: int) -> set[str]:
    """Commit at an even pace, as engines do; the ids."""
    waker, ids, revisions = Waker(path), set[str](), [0] * N_STREAMS
    began_s, pause = time.monotonic(), threading.Event()
    for number in range(per_s * seconds):
        if number % max(1, round(per_s * COMMIT_S)) == 0:
            waker.wake()
            pause.wait(max(0.0, began_s + number / per_s - time.monotonic()))
        stream = number % N_STREAMS
        event = _event(f"s{stream}", number)
        if outbox.commit([StreamCommit(event.stream, revisions[stream], None, [event])]):
            raise RuntimeError("expected nobody else to write this outbox")
        revisions[stream] += 1
        ids.add(event.event_id)
    waker.wake()
    waker.close()
    return ids


def _event(stream: str, number: int) -> SoundEvent:
    now = datetime.now(UTC)
    return SoundEvent(
        event_id=event_id(stream, 1, "siren", number),
        seq=0,
        stream=stream,
        epoch=format_epoch(1),
        label="siren",
        phase="onset",
        onset_sample=number,
        offset_sample=None,
        sample_rate_hz=16_000,
        onset_time=now,
        offset_time=None,
        score_peak=0.9,
        score_mean=0.8,
        level_db=-20.0,
        reason=None,
        decided_at=now,
        delay_ms=1.0,
        model="bench@1+0123456789abcdef",
    )


def _listen(told: "Queue[Any]", ports: Ports, n_events: int) -> None:
    """Take everything, each sink in a thread of its own; tell the ids of each."""
    got: dict[str, list[str]] = {name: [] for name in ("zeromq", "webhook", "mqtt", "sse")}
    ready = [threading.Event() for _ in range(2)]
    _take_webhook(ports.hook, got["webhook"])
    client = _take_mqtt(ports.broker, got["mqtt"], ready[0])
    listeners: list[Callable[[], None]] = [
        lambda: _take_zeromq(ports, got["zeromq"]),
        lambda: _take_sse(ports.page, got["sse"], ready[1]),
    ]
    for listen in listeners:
        threading.Thread(target=listen, daemon=True).start()
    for each in ready:
        if not each.wait(_DEADLINE_S):
            raise TimeoutError("expected the broker and the page to answer")
    told.put("listening")
    wait_until(lambda: all(len(set(ids)) >= n_events for ids in got.values()), f"all events, {_n(got)}", 600)
    client.loop_stop()
    told.put(got)


def _n(got: dict[str, list[str]]) -> dict[str, int]:
    return {name: len(ids) for name, ids in got.items()}


def _take_zeromq(ports: Ports, ids: list[str]) -> None:
    with subscribe(f"tcp://127.0.0.1:{ports.events}", f"tcp://127.0.0.1:{ports.history}", since=0) as subscription:
        ids.extend(event.event_id for event in subscription)


def _take_sse(page: int, ids: list[str], ready: threading.Event) -> None:
    url = f"http://127.0.0.1:{page}/api/v1/events/stream"
    with httpx.stream("GET", url, headers={"Last-Event-ID": "0"}, timeout=60) as answer:
        for line in answer.iter_lines():
            ready.set()
            if line.startswith("data:") and '"event_id"' in line:
                ids.append(json.loads(line.removeprefix("data:"))["event_id"])


def _take_mqtt(broker: int, ids: list[str], ready: threading.Event) -> mqtt.Client:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="bench", protocol=mqtt.MQTTv5)
    client.on_message = lambda _client, _data, message: ids.append(json.loads(message.payload)["data"]["event_id"])
    client.on_subscribe = lambda *_: ready.set()
    client.on_connect = lambda client, *_: client.subscribe("earmark/events", qos=1)
    client.connect("127.0.0.1", broker)
    client.loop_start()
    return client


def _take_webhook(port: int, ids: list[str]) -> None:
    class Taker(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            ids.extend(event["data"]["event_id"] for event in json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
            """Say nothing."""

    threading.Thread(target=HTTPServer(("127.0.0.1", port), Taker).serve_forever, daemon=True).start()


if __name__ == "__main__":
    main()
