"""The workers and the service around them: cursors, retention, full disks, ports, kills."""

import os
import resource
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import zmq
from pydantic import ValidationError

import publishers.worker
from earmark.client import subscribe
from earmark.contracts.errors import ConfigError, OutboxError
from earmark.outbox import Cursors, OutboxReader, StoredEvent
from earmark.outbox.config import OutboxConfig
from earmark.telemetry.metrics import REGISTRY
from publishers.config import JsonlConfig, PublishersConfig, ZeroMqConfig
from publishers.sinks import SinkError
from publishers.source import OutboxSource
from publishers.worker import LONGEST_RETRY_S, MOST_REFUSALS, Backoff, Worker
from tests.publishers.publishing import Child, Engine, Service, seqs, take
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S, wait_for


def metric(name: str, sink: str) -> float:
    return REGISTRY.get_sample_value(f"earmark_{name}", {"sink": sink}) or 0.0


def cursor(outbox: OutboxConfig, sink: str) -> int:
    cursors, reader = Cursors(outbox.cursors_path), OutboxReader(outbox.path)
    try:
        return cursors.get(sink, reader.outbox_id)
    finally:
        cursors.close()
        reader.close()


def test_the_wire_is_topic_json_and_the_seq_before(engine: Engine, service: Service):
    service.start()
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(service.zeromq.bind)
        assert socket.poll(DEADLINE_S * 1000)
        (welcome,) = socket.recv_multipart()
        reader = OutboxReader(engine.config.path)
        assert welcome == b"/welcome/" + reader.outbox_id.encode()
        engine.commit(("gate", "dog"))
        topic, *parts = socket.recv_multipart()
        while topic == b"/newest":
            topic, *parts = socket.recv_multipart()
        assert (topic, parts) == (b"gate/dog", [reader.read(0, 1)[0].json.encode(), b"0"])
        assert socket.recv_multipart() == [b"/newest", f'{{"outbox":"{reader.outbox_id}","seq":1}}'.encode()]
        reader.close()


def test_cursors_are_durable(engine: Engine, service: Service, outbox: OutboxConfig):
    service.start()
    engine.commit(n=3)
    wait_for(lambda: cursor(outbox, "zeromq") == 3)
    service.stop()
    engine.commit(n=2)
    before = metric("sink_events_total", "zeromq")
    service.start()
    wait_for(lambda: cursor(outbox, "zeromq") == 5)
    assert metric("sink_events_total", "zeromq") == before + 2


def test_commits_reach_a_sink_without_waiting_for_a_poll(
    engine: Engine, service: Service, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(publishers.worker, "POLL_S", 2 * DEADLINE_S)
    before = metric("sink_events_total", "zeromq")

    def has(n: int) -> bool:
        return metric("sink_events_total", "zeromq") == before + n

    def is_woken() -> bool:
        """The first messages may find nobody who listens."""
        engine._waker.wake()
        return has(2)

    engine.commit()
    service.start()
    wait_for(lambda: has(1))
    engine.commit()
    wait_for(is_woken)
    for n in range(3, 103):
        engine.commit()
        wait_for(lambda n=n: has(n))


def test_retention_that_overtakes_a_sink_is_counted(
    engine: Engine, jsonl_service: Service, outbox: OutboxConfig, tmp_path: Path
):
    service = jsonl_service.start()
    engine.commit(n=2)
    wait_for(lambda: cursor(outbox, "jsonl") == 2)
    service.stop()
    engine.commit(n=7)
    engine.forget()
    engine.commit(n=1)
    before = metric("sink_lost_events_total", "jsonl")
    service.start()
    wait_for(lambda: cursor(outbox, "jsonl") == 10)
    service.stop()
    assert metric("sink_lost_events_total", "jsonl") == before + 7
    assert metric("sink_depth_events", "jsonl") == 0
    assert seqs(tmp_path / "events.jsonl") == [1, 2, 10]


def test_a_new_sink_lost_nothing(engine: Engine, jsonl_service: Service, outbox: OutboxConfig, tmp_path: Path):
    engine.commit(n=4)
    engine.forget()
    engine.commit(n=2)
    before = metric("sink_lost_events_total", "jsonl")
    jsonl_service.start()
    wait_for(lambda: cursor(outbox, "jsonl") == 6)
    jsonl_service.stop()
    assert seqs(tmp_path / "events.jsonl") == [5, 6]
    assert metric("sink_lost_events_total", "jsonl") == before


def test_an_outbox_that_lost_its_end_is_followed(engine: Engine, service: Service, outbox: OutboxConfig):
    """Power failed: the cursors' file reached the disk, the outbox's last events did not."""
    engine.commit(n=2)
    reader = OutboxReader(outbox.path)
    cursors = Cursors(outbox.cursors_path)
    cursors.set("zeromq", reader.outbox_id, 9)
    cursors.close()
    reader.close()
    service.start()
    engine.commit()
    wait_for(lambda: cursor(outbox, "zeromq") == 3)


def test_a_full_disk_stops_the_file_and_nobody_else(engine: Engine, outbox: OutboxConfig, tmp_path: Path):
    """No file of the process may grow: neither the cursors nor the JSON Lines can be written, events still go out."""
    path = tmp_path / "events.jsonl"
    zeromq = ZeroMqConfig(bind=free_address(), history_bind=free_address())
    child = Child(PublishersConfig(zeromq=zeromq, http=None, jsonl=JsonlConfig(path=path)), outbox)
    try:
        with subscribe(zeromq.bind, zeromq.history_bind, timeout_s=DEADLINE_S) as events:
            engine.commit(n=200)
            assert take(events, 200) == list(range(1, 201))
            wait_for(lambda: path.read_bytes().count(b"\n") == 200)
            wait_for(lambda: cursor(outbox, "zeromq") == 200)
            _, hard = resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (4096, hard))
            engine.commit(n=100)
            assert take(events, 100) == list(range(201, 301))
            assert (len(seqs(path)), cursor(outbox, "zeromq")) == (200, 200)
            resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
            engine.commit()
            assert take(events, 1) == [301]
        wait_for(lambda: cursor(outbox, "zeromq") == 301)
        wait_for(lambda: cursor(outbox, "jsonl") == 301)
        assert seqs(path) == list(range(1, 302))
    finally:
        child.kill()


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_publishers_that_are_killed_or_put_to_sleep(engine: Engine, outbox: OutboxConfig, blow: signal.Signals):
    config = PublishersConfig(http=None, zeromq=ZeroMqConfig(bind=free_address(), history_bind=free_address()))
    assert config.zeromq is not None
    child = Child(config, outbox)
    seen: list[int] = []
    try:
        with subscribe(config.zeromq.bind, config.zeromq.history_bind, since=0, timeout_s=DEADLINE_S) as events:
            for _ in range(3):
                engine.commit(n=100)
                seen += take(events, 37)
                os.kill(child.process.pid, blow)
                engine.commit(n=100)
                if blow == signal.SIGKILL:
                    child.kill()
                    child = Child(config, outbox)
                else:
                    os.kill(child.process.pid, signal.SIGCONT)
                seen += take(events, 163)
    finally:
        child.kill()
    assert seen == list(range(1, 601))


def test_an_outbox_has_one_service(outbox: OutboxConfig, service: Service):
    service.start()
    with pytest.raises(ConfigError, match=r"outbox\.path: expected an outbox of its own, got .* is another"):
        Service(outbox).start()
    service.stop()
    again = Service(outbox).start()
    again.stop()


def test_an_address_in_use_is_named(outbox: OutboxConfig, service: Service):
    service.start()
    outbox = OutboxConfig(path=outbox.path.with_name("another.db"))
    second = Service(outbox)
    second.config = PublishersConfig(
        http=None, zeromq=ZeroMqConfig(bind=free_address(), history_bind=service.zeromq.history_bind)
    )
    with pytest.raises(ConfigError, match=r"publishers\.zeromq\.history_bind: .* another program has it; set"):
        second.start()
    third = Service(outbox)
    third.config = PublishersConfig(
        http=None, zeromq=ZeroMqConfig(bind=service.zeromq.bind, history_bind=free_address())
    )
    with pytest.raises(ConfigError, match=r"publishers\.zeromq\.bind: .* another program has it; set"):
        third.start()


def test_a_file_that_is_no_outbox_is_refused(outbox: OutboxConfig):
    outbox.path.write_bytes(b"something else " * 1000)
    with pytest.raises(OutboxError, match="expected an outbox"):
        Service(outbox).start()


def test_config_defaults_and_refusals():
    config = PublishersConfig()
    assert config.zeromq == ZeroMqConfig(bind="tcp://127.0.0.1:7711", history_bind="tcp://127.0.0.1:7712")
    assert config.jsonl is None
    with pytest.raises(ValidationError, match=r"publishers\.zeromq\.bind binds tcp://0\.0\.0\.0:7711"):
        ZeroMqConfig(bind="tcp://0.0.0.0:7711")
    assert ZeroMqConfig(bind="tcp://0.0.0.0:7711", insecure=True).insecure
    with pytest.raises(ValidationError, match="expected two addresses"):
        ZeroMqConfig(bind="tcp://127.0.0.1:7711", history_bind="tcp://127.0.0.1:7711")
    with pytest.raises(ValidationError, match="expected an address"):
        ZeroMqConfig(history_bind="127.0.0.1:7712")
    assert PublishersConfig.model_validate({"zeromq": None, "jsonl": {"path": "-"}}).jsonl == JsonlConfig(
        path=Path("-")
    )


def test_backoff_grows_with_jitter_and_ends():
    now_s = 100.0
    backoff = Backoff(lambda: now_s)
    waits_s = [backoff.failed() for _ in range(30)]
    assert backoff.is_waiting
    assert all(0.05 * 2**i <= wait_s <= 0.1 * 2**i for i, wait_s in enumerate(waits_s[:8]))
    assert all(LONGEST_RETRY_S / 2 <= wait_s <= LONGEST_RETRY_S for wait_s in waits_s[10:])
    now_s += waits_s[-1]
    assert not backoff.is_waiting
    backoff.succeeded()
    assert backoff.failures == 0


class Restless:
    """Takes everything, but cannot do what is due."""

    name = "restless"
    error: SinkError | None = SinkError("the other end is away")

    def resume(self, outbox: OutboxReader, cursor: int) -> int:
        del outbox
        return cursor

    def publish(self, events: Sequence[StoredEvent]) -> None:
        pass

    def tick(self, seq: int) -> None:
        del seq
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        pass


def test_a_sink_that_only_fails_at_what_is_due_is_tried_less_and_less_often(engine: Engine, outbox: OutboxConfig):
    now_s, sink = 0.0, Restless()
    worker = Worker(sink, outbox, lambda: now_s)
    waits_s: list[float] = []
    for n in range(1, 9):
        worker._turn()
        assert worker._backoff.failures == n
        waits_s.append(worker._backoff._until_s - now_s)
        now_s = worker._backoff._until_s
    assert waits_s[-1] > 5.0
    engine.commit()
    sink.error = None
    worker._turn()
    assert (worker._backoff.failures, worker._seq) == (0, 1)
    worker._source.close()
    assert worker._cursors is not None
    worker._cursors.close()


def test_whoever_keeps_the_reader_reads_what_was_put_in_the_outboxs_place(engine: Engine, outbox: OutboxConfig):
    """A copy has the same id: nobody begins anew, and nobody may hold a reader that is closed."""
    engine.commit(n=2)
    source = OutboxSource(outbox.path)
    reader = source.reader()
    engine._outbox._connection.execute("VACUUM INTO ?", (f"{outbox.path}.copy",))
    Path(f"{outbox.path}.copy").replace(outbox.path)
    assert source.reader() is reader
    assert reader.newest_seq() == 2
    source.close()


class Library:
    """A sink over a client library that cannot take some events, and fails as its author never thought of."""

    name = "library"

    def __init__(self, refused: set[int]) -> None:
        self.taken: list[int] = []
        self.n_refusals = 0
        self._refused = refused

    def resume(self, outbox: OutboxReader, cursor: int) -> int:
        del outbox
        return cursor

    def publish(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            if event.seq in self._refused:
                self.n_refusals += 1
                raise ValueError("Payload too large.")
            if event.seq not in self.taken:
                self.taken.append(event.seq)

    def tick(self, seq: int) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("refused", [{1}, {4}, {8}, {3, 4, 7}])
def test_an_event_that_a_client_library_refuses_does_not_end_the_sink(
    engine: Engine, outbox: OutboxConfig, refused: set[int]
):
    engine.commit(n=8)
    sink, lost = Library(refused), metric("sink_lost_events_total", "library")
    worker = Worker(sink, outbox)
    worker.start()
    wait_for(lambda: metric("sink_lost_events_total", "library") == lost + len(refused), "the skipped events")
    wait_for(lambda: cursor(outbox, "library") == 8, "its place after the last event")
    engine.commit(n=1)
    worker.wake()
    wait_for(lambda: sink.taken == [seq for seq in range(1, 10) if seq not in refused], "all others, in order")
    worker.stop()
    assert worker.join(DEADLINE_S)
    assert worker.error is None
    assert sink.n_refusals >= MOST_REFUSALS * len(refused)
