"""The engine's process, over its real sockets and a real outbox, in a thread."""

import threading
import time
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import structlog
import zmq

import engine.service
from earmark.contracts.addresses import ack_address
from earmark.contracts.curve import connect_encrypted
from earmark.contracts.errors import ConfigError
from earmark.contracts.streams import Gap, GapReason
from earmark.contracts.wire import ack_topic, decode_ack, encode_records
from earmark.outbox import Outbox, OutboxReader, StreamCommit, WakeSignal
from earmark.outbox.config import OutboxConfig
from earmark.outbox.elapsed import read_uptime
from earmark.telemetry import metrics
from earmark.telemetry.metrics import REGISTRY
from engine.config import EngineConfig
from engine.judging import ConfirmConfig
from engine.rivals import QUIET_S
from engine.service import EngineService
from tests.support.audio import tones
from tests.support.events import make_event
from tests.support.judge_bundle import write_judge_bundle
from tests.support.ports import free_address
from tests.support.simulation import RATE_HZ, Engine, essence, make_records, run_undisturbed, stored_events
from tests.support.tiny_bundle import LABELS
from tests.support.waiting import DEADLINE_S, wait_for


class Peer:
    """A streamer's sockets, in the test's hands."""

    def __init__(self, address, curve=None):
        self.address = address
        self.context = zmq.Context()
        self.blocks = self.context.socket(zmq.PUSH)
        self.acks = self.context.socket(zmq.SUB)
        if curve is not None:
            connect_encrypted(self.blocks, curve)
            connect_encrypted(self.acks, curve)
        self.blocks.connect(address)
        self.acks.setsockopt(zmq.SUBSCRIBE, b"")
        self.acks.connect(ack_address(address))

    def send(self, *records):
        self._last = encode_records(records)
        self.blocks.send(self._last)

    def join(self):
        """Make sure that acknowledgements arrive: SUB joins late. An engine asks for the begin that is missing."""
        self.send(make_records(tones(0, 1), stream="probe")[1])
        self.wait_for_ack("probe", lambda ack: ack.resend_from == 0)

    def wait_for_ack(self, stream, condition, *, again=True):
        """The first acknowledgement that fulfils ``condition``; as a streamer does, sends again while none comes."""
        for _ in range(int(DEADLINE_S)):
            while self.acks.poll(1000):
                message = self.acks.recv()
                if message.startswith(ack_topic(stream)) and condition(ack := decode_ack(message)):
                    return ack
            if again:
                self.blocks.send(self._last)
        raise AssertionError("no such acknowledgement")

    def close(self):
        self.context.destroy(linger=0)


class Running:
    """An `EngineService` in a thread of its own, which also makes it: SQLite wants that."""

    def __init__(self, config, outbox, *, on_made=lambda service: None, on_alive=lambda service: None, **options):
        self.stop, self.ready = threading.Event(), threading.Event()

        def run():
            service = EngineService(config, outbox, **options)
            on_made(service)
            service.run(self.stop, self.ready.set, lambda: on_alive(service))

        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert self.ready.wait(DEADLINE_S)

    def close(self):
        self.stop.set()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()


@pytest.fixture
def address():
    return free_address()


@pytest.fixture
def start(tiny_bundle, tmp_path, address):
    made = []

    def start(max_lag_s=None, max_wait_ms=0, insecure=False, confirm=None, **options):
        config = EngineConfig(
            bind=(address,),
            bundle=str(tiny_bundle.folder),
            checkpoint_s=0.2,
            max_lag_s=max_lag_s,
            max_wait_ms=max_wait_ms,
            insecure=insecure,
            confirm=confirm,
        )
        made.append(Running(config, OutboxConfig(path=tmp_path / "outbox.db"), **options))
        return made[-1]

    yield start
    for running in made:
        running.close()


@pytest.fixture
def peer(address):
    made = Peer(address)
    yield made
    made.close()


def refused(reason):
    return metrics.REFUSED.labels(reason)._value.get()


def test_retention_does_not_wait_a_second_for_each_piece(start, tmp_path):
    """Else whoever makes more than 500 events a second fills the disk."""
    with closing(Outbox(tmp_path / "outbox.db")) as outbox:
        outbox.commit([StreamCommit("gate", 0, None, [make_event(number) for number in range(10_000)])])
        outbox._connection.execute("INSERT INTO marks VALUES (0.0, 10000)")
        outbox._connection.execute("INSERT INTO elapsed VALUES (?, ?, ?)", (*read_uptime(), 31 * 86_400.0))
    seconds = []
    start(on_alive=seconds.append)
    with closing(OutboxReader(tmp_path / "outbox.db")) as reader:
        wait_for(lambda: not reader.read(0, 1))
    assert len(seconds) < 10


def test_audio_becomes_events_and_is_acknowledged(start, peer, tiny_bundle, tmp_path):
    start()
    records = make_records(tones(0, 6))
    for first in range(0, len(records), 5):
        peer.send(*records[first : first + 5])
    peer.wait_for_ack("gate", lambda ack: ack.keep_sample == 96_000)
    expected = run_undisturbed(tiny_bundle, tmp_path / "reference.db", records)
    assert essence(stored_events(tmp_path / "outbox.db")) == essence(expected)
    delays = [event.delay_ms for event in stored_events(tmp_path / "outbox.db") if event.reason is None]
    assert all(delay is not None and delay >= 0 for delay in delays)


def test_a_judge_confirms_onsets_and_what_it_refuses_is_counted(start, peer, tiny_bundle, tmp_path, monkeypatch):
    """Three streams hear the same, so more questions are due at once than a turn may ask."""
    monkeypatch.setattr(engine.service, "_MOST_QUESTIONS", 1)
    confirm = ConfirmConfig(bundle=str(write_judge_bundle(tmp_path / "judge")), after_s=0.2, again_s=0.4)
    start(confirm=confirm)
    peer.join()
    names = ("a", "b", "c")
    before = {name: refused_onsets(name) for name in names}
    records = {name: make_records(tones(3, 8), stream=name) for name in names}
    for together in zip(*records.values(), strict=True):
        peer.send(*together)
    alone = Engine(tiny_bundle, tmp_path / "alone.db", confirm=confirm)
    for record in records["a"]:
        alone.deliver(record)
    alone.commit()
    for name in names:
        peer.wait_for_ack(name, lambda ack: ack.keep_sample == 8 * RATE_HZ)
        wait_for(lambda name=name: refused_onsets(name) - before[name] == len(alone.refused))
    assert len(alone.refused) > 3
    events = stored_events(tmp_path / "outbox.db")
    expected = [each[2:] for each in essence(stored_events(tmp_path / "alone.db"))]
    assert len(expected) > 8
    for name in names:
        assert sorted(each[2:] for each in essence([e for e in events if e.stream == name])) == sorted(expected)


def refused_onsets(stream):
    return sum(metrics.REFUSED_BY_JUDGE.labels(stream, label)._value.get() for label in LABELS)


def test_a_zone_hears_what_its_streams_hear(start, peer, tmp_path):
    running = start(zones={"yard": ("barn", "gate")})
    audio = tones(0, 6)
    streams = {"barn": make_records(audio, stream="barn", epoch=8), "gate": make_records(audio, stream="gate")}
    for records in zip(*streams.values(), strict=True):
        peer.send(*records)
    for stream in streams:
        peer.wait_for_ack(stream, lambda ack: ack.keep_sample == 96_000)
    running.close()  # and with it ends what only waits for the clock
    events = stored_events(tmp_path / "outbox.db")
    heard = [event for event in events if event.stream == "yard"]
    singles = [event for event in events if event.stream != "yard" and event.phase == "offset"]
    assert len({event.stream for event in singles}) == 2
    assert {event.event_id for event in heard if event.phase == "onset"} == {
        event.event_id for event in heard if event.phase == "offset"
    }
    for single in singles:
        assert any(
            single.stream in event.heard_by and single.offset_time <= event.offset_time
            for event in heard
            if event.phase == "offset" and event.label == single.label
        )


def test_an_engine_that_may_wait_analyses_streams_together(start, peer):
    start(max_wait_ms=1000)
    n_streams = 12
    records = {f"s{i}": make_records(tones(i, 1), stream=f"s{i}", block=640)[:3] for i in range(n_streams)}
    for own in records.values():
        peer.send(own[0])
    for stream in records:
        peer.wait_for_ack(stream, lambda ack: ack.resend_from == -1)
    before = REGISTRY.get_sample_value("earmark_batch_size_count"), REGISTRY.get_sample_value("earmark_batch_size_sum")
    apart = threading.Event()
    for index in (1, 2):
        for own in records.values():
            peer.send(own[index])
            apart.wait(0.02)
    wait_for(lambda: REGISTRY.get_sample_value("earmark_batch_size_sum") - before[1] >= 2 * n_streams, "all rows")
    steps = REGISTRY.get_sample_value("earmark_batch_size_count") - before[0]
    assert steps <= n_streams, "of twice as many blocks, each of which came alone"


def test_a_hole_is_asked_for_until_it_is_filled(start, peer):
    start()
    records = make_records(tones(0, 2))
    peer.send(records[0])
    peer.send(records[2])
    assert peer.wait_for_ack("gate", lambda ack: ack.resend_from >= 0).resend_from == 1000
    peer.send(records[1])
    peer.wait_for_ack("gate", lambda ack: ack.resend_from == -1)


def test_an_engine_that_starts_again_asks_from_its_checkpoint(start, peer, tiny_bundle, tmp_path):
    records = make_records(tones(0, 6))
    first = start()
    peer.send(*records[:60])
    kept = peer.wait_for_ack("gate", lambda ack: ack.keep_sample > 0)
    first.close()
    start()
    peer.send(records[60])
    ack = peer.wait_for_ack("gate", lambda ack: ack.resend_from >= 0)
    assert kept.keep_sample <= ack.resend_from <= 60_000
    rest = [record for record in records if record.end_sample > ack.resend_from]
    peer.send(*rest)
    peer.wait_for_ack("gate", lambda ack: ack.keep_sample == 96_000)
    expected = run_undisturbed(tiny_bundle, tmp_path / "reference.db", records)
    assert essence(stored_events(tmp_path / "outbox.db")) == essence(expected)


def test_what_cannot_be_used_is_counted_and_hurts_nobody(start, peer, tiny_bundle, tmp_path):
    start()
    peer.join()
    records = make_records(tones(0, 3))
    wrong = make_records(tones(0, 1), stream="wrong")[0]
    wrong.sample_rate_hz = 44_100
    reasons = ("foreign", "truncated", "header", "sample_rate", "repeated", "hole")
    before = {reason: refused(reason) for reason in reasons}
    peer.blocks.send(b"GET / HTTP/1.1\r\n\r\n")
    peer.blocks.send(encode_records(records[:1])[:-1])
    peer.blocks.send(encode_records([make_records(tones(0, 1), stream="NO")[0]]))
    peer.send(wrong)
    peer.send(records[0], records[0], records[5], *records[1:])
    peer.wait_for_ack("gate", lambda ack: ack.keep_sample == 48_000, again=False)
    assert {reason: refused(reason) - before[reason] for reason in reasons} == {
        "foreign": 1,
        "truncated": 1,
        "header": 1,
        "sample_rate": 1,
        "repeated": 1,
        "hole": 1,
    }
    expected = run_undisturbed(tiny_bundle, tmp_path / "reference.db", records)
    assert essence(stored_events(tmp_path / "outbox.db")) == essence(expected)


@pytest.mark.parametrize(("insecure", "sender"), [(False, "a peer"), (True, "127.0.0.1")])
def test_another_wire_version_is_counted_and_named_once(start, peer, insecure, sender):
    """A streamer of another release says everything again and again."""
    before = refused("version")
    with structlog.testing.capture_logs() as logs:
        start(insecure=insecure)
        peer.join()
        message = bytearray(encode_records(make_records(tones(0, 1))[:1]))
        message[4] = 2
        for _ in range(5):
            peer.blocks.send(bytes(message))
        wait_for(lambda: refused("version") == before + 5, "5 refusals")
    (told,) = [log for log in logs if log.get("reason") == "version"]
    assert (told["log_level"], told["sender"]) == ("warning", sender)
    assert told["explanation"] == "expected wire version 1, got 2; run the same Earmark release on both ends"


def test_the_end_of_a_dead_epoch_is_acknowledged_again(start, peer):
    start()
    peer.join()
    records = make_records(tones(0, 2))
    peer.send(*records)
    peer.wait_for_ack("gate", lambda ack: ack.keep_sample == 32_000, again=False)
    before = refused("dead_epoch")
    peer.send(records[-1])
    peer.wait_for_ack("gate", lambda ack: ack.keep_sample == 32_000, again=False)
    assert refused("dead_epoch") == before
    peer.send(records[0])
    peer.wait_for_ack("gate", lambda ack: ack.keep_sample == 32_000, again=False)
    assert refused("dead_epoch") == before + 1


def test_samples_of_an_epoch_that_another_one_ends_are_counted(start, peer, tmp_path):
    """At once, not with the next second: there is none for what is forgotten."""
    start()
    counted = metrics.ANALYSED_SAMPLES.labels("gate")._value
    before = counted.get()
    peer.send(*make_records(tones(0, 4))[:60], *make_records(tones(0, 2), epoch=8))
    peer.wait_for_ack("gate", lambda ack: ack.epoch == 8 and ack.keep_sample == 32_000)
    with closing(Outbox(tmp_path / "outbox.db")) as outbox:
        interrupted_at = outbox.retired_end("gate", 7)
    assert 0 < interrupted_at <= 60_000
    assert counted.get() - before == interrupted_at + 32_000


TONE = np.round(6000 * np.sin(2 * np.pi * 900 * np.arange(32_000) / 16_000)).astype(np.int16)


def wait_for_end_of(stream, outbox):
    """The offset of a stream's open event."""
    signal = WakeSignal(outbox)
    try:
        for _ in range(int(10 * DEADLINE_S)):
            ended = [event for event in stored_events(outbox) if event.stream == stream and event.phase == "offset"]
            if ended:
                return ended[0]
            signal.wait(0.1)
        raise AssertionError("its event never ended")
    finally:
        signal.close()


def test_a_source_that_falls_silent_ends_its_events(start, peer, tmp_path):
    start(ring_s=1.0, max_lag_s=60.0)
    peer.send(*make_records(TONE)[:-1])
    assert wait_for_end_of("gate", tmp_path / "outbox.db").reason == "interrupted"


def test_it_does_so_while_other_streams_live(start, peer, tmp_path):
    start(ring_s=1.0, max_lag_s=600.0)
    peer.send(*make_records(TONE)[:-1])
    stop = threading.Event()
    live = make_records(tones(1, 60), stream="live", block=320)[:-1]

    def go_on():
        other = zmq.Context()
        socket = other.socket(zmq.PUSH)
        socket.connect(peer.address)
        for record in live:
            socket.send(encode_records([record]))
            if stop.wait(0.02):
                break
        other.destroy(linger=0)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        assert wait_for_end_of("gate", tmp_path / "outbox.db").reason == "interrupted"
    finally:
        stop.set()
        thread.join()


def test_what_an_earlier_engine_left_open_ends_too(start, peer, tmp_path):
    first = start(ring_s=60.0)
    peer.send(*make_records(TONE)[:-1])
    peer.wait_for_ack("gate", lambda ack: ack.keep_sample >= 0 and bool(stored_events(tmp_path / "outbox.db")))
    first.close()
    start(ring_s=1.0, max_lag_s=60.0)
    assert wait_for_end_of("gate", tmp_path / "outbox.db").reason == "interrupted"


def coverage_of(stream):
    return metrics.COVERAGE.labels(stream)._value.get()


def test_quiet_and_not_listening_never_look_the_same(start, peer):
    """A stream that never came has no coverage, and one that has ended loses what it had."""
    metrics.COVERAGE.clear()
    turns = []
    start(streams=["never"], on_alive=lambda service: turns.append((coverage_of("gate"), coverage_of("never"))))
    peer.send(*make_records(tones(0, 1)))
    peer.wait_for_ack("gate", lambda ack: ack.keep_sample == 16_000)
    wait_for(lambda: turns and 0 < turns[-1][0] < 0.5, "the coverage to fall")
    assert {never for _, never in turns} == {0.0}


def test_coverage_goes_on_over_a_restart(start, peer):
    """It neither invents an outage nor hides one."""
    metrics.COVERAGE.clear()
    first = start(streams=["gate"])
    peer.send(*make_records(tones(0, 6)))
    peer.wait_for_ack("gate", lambda ack: ack.keep_sample == 96_000)
    wait_for(lambda: coverage_of("gate") == 1.0, "six seconds that came at once")
    first.close()
    shown = []
    start(streams=["gate"], on_alive=lambda service: shown.append(service._coverage["gate"].span_s(time.monotonic())))
    wait_for(lambda: shown)
    assert coverage_of("gate") > 0.5
    assert shown[0] >= 6.0


def test_what_was_analysed_is_stored_while_it_runs(start, peer, tmp_path):
    """An engine that is killed loses seconds of it at most."""
    start(streams=["gate"])
    peer.send(*make_records(tones(0, 6)))

    def stored():
        with closing(Outbox(tmp_path / "outbox.db")) as outbox:
            return sum(minute.analysed for minute in outbox.load_coverage().get("gate", ()))

    wait_for(lambda: stored() == 96_000)


def test_a_second_that_ends_early_leaves_no_stream_out(tmp_path, tiny_bundle):
    noted = []
    service = EngineService(
        EngineConfig(bundle=str(tiny_bundle.folder)), OutboxConfig(path=tmp_path / "outbox.db"), streams=["a", "b"]
    )
    service._gate = SimpleNamespace(tend=lambda: None)
    service._monitor = SimpleNamespace(note_status=lambda name, *_: noted.append(name), show_statuses=lambda: None)
    service._housekeep()
    service._tend_some(0.4)  # one of them is left
    assert len(noted) == 1
    service._housekeep()
    assert sorted(noted) == ["a", "b"]
    service._outbox.close()


def test_a_commit_wakes_the_publishers(start, peer, tmp_path):
    signal = WakeSignal(tmp_path / "outbox.db")
    start()
    peer.send(*make_records(tones(0, 3)))
    assert signal.wait(DEADLINE_S)
    signal.close()


def test_a_full_disk_stops_acknowledgements_and_loses_nothing(start, peer, tmp_path, tiny_bundle):
    """SQLite's own limit of pages stands for the disk: the same error, until the third complaint makes room."""
    complaints = []

    def set_limit(service, more):
        connection = service._outbox._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + more}")

    def make_room(service):
        if metrics.OUTBOX_FAILING._value.get():
            complaints.append(service._analyser.streams["gate"].keep_sample)
            if len(complaints) == 3:
                set_limit(service, 10_000)

    start(on_made=lambda service: set_limit(service, 0), on_alive=make_room)
    records = make_records(tones(0, 6))
    peer.send(*records)
    peer.wait_for_ack("gate", lambda ack: ack.keep_sample == 96_000)
    assert complaints == [0, 0, 0]
    assert metrics.OUTBOX_FAILING._value.get() == 0
    expected = run_undisturbed(tiny_bundle, tmp_path / "reference.db", records)
    assert essence(stored_events(tmp_path / "outbox.db")) == essence(expected)


def test_a_port_in_use_is_named(start, tiny_bundle, tmp_path, address):
    start()
    config = EngineConfig(bind=(address,), bundle=str(tiny_bundle.folder))
    second = EngineService(config, OutboxConfig(path=tmp_path / "other.db"))
    with pytest.raises(ConfigError, match=r"engine\.bind: expected to bind .* stop the other engine"):
        second.run(threading.Event())


def test_a_ring_too_short_for_the_bundle_is_named(tiny_bundle, tmp_path):
    config = EngineConfig(bundle=str(tiny_bundle.folder))
    with pytest.raises(ConfigError, match=r"expected streamer\.ring_s above 19 s with this bundle, got 15; raise it"):
        EngineService(config, OutboxConfig(path=tmp_path / "outbox.db"), ring_s=15)


def test_an_open_address_needs_to_be_asked_for():
    with pytest.raises(ValueError, match="without authentication"):
        EngineConfig(bind=("tcp://0.0.0.0:7701",))
    assert EngineConfig(bind=("tcp://0.0.0.0:7701",), insecure=True).insecure


def test_a_streamer_learns_that_its_epoch_is_over(start, peer):
    """One block of another epoch may interrupt a stream; its streamer must not go on unheard."""
    start()
    peer.join()
    peer.send(*make_records(tones(0, 4))[:40])
    peer.wait_for_ack("gate", lambda ack: ack.epoch == 7 and ack.needed_sample > 0)
    peer.send(make_records(tones(0, 1), epoch=8)[0])
    peer.send(make_records(tones(0, 4))[40])
    assert peer.wait_for_ack("gate", lambda ack: ack.epoch == 7 and ack.is_over, again=False).keep_sample > 0
    before = refused("rival_epoch")
    third = make_records(tones(0, 4), epoch=9)[0]
    peer.send(third)
    wait_for(lambda: refused("rival_epoch") == before + 1, "the third epoch to wait")
    time.sleep(QUIET_S)
    peer.send(third)
    peer.wait_for_ack("gate", lambda ack: ack.epoch == 9)


def test_a_message_of_thousands_of_epochs_delays_no_other_stream(start, peer):
    start()
    peer.join()
    flood = [replace(gap, epoch=epoch) for epoch in range(1, 11_901) for gap in [make_gap("evil")]]
    peer.send(make_records(tones(0, 1))[0])
    peer.wait_for_ack("gate", lambda ack: ack.needed_sample > 0)
    before = refused("too_many_records")
    peer.send(*flood)
    peer.wait_for_ack("evil", lambda ack: ack.epoch in {1, 2}, again=False)
    assert refused("too_many_records") == before + 11_898


def make_gap(stream):
    return Gap(stream, 1, 0, 1, RATE_HZ, 1, 1, GapReason.DEVICE)
