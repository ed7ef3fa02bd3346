"""Who may send what, where the engine asks for keys: each attack is refused, counted and told once; others go on."""

import json
from contextlib import closing

import pytest
import zmq
from pydantic import ValidationError
from structlog.testing import capture_logs

import earmark.links.door
from earmark.contracts.errors import ConfigError
from earmark.contracts.wire import encode_records
from earmark.outbox.config import OutboxConfig
from earmark.telemetry.metrics import REGISTRY
from earmark.telemetry.refusals import Refusals
from engine.config import EngineConfig
from engine.gate import LONGEST_MESSAGE, Gate
from tests.engine.test_service import Peer, Running
from tests.support.audio import tones
from tests.support.keys import Keys, refused
from tests.support.ports import free_address
from tests.support.simulation import essence, make_records, run_undisturbed, stored_events
from tests.support.waiting import DEADLINE_S, wait_for

LIMITS = {"max_client_streams": 4, "max_client_mb_s": 0.5, "max_streams": 10}


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "keys")


@pytest.fixture
def address():
    return free_address()


@pytest.fixture
def config(tiny_bundle, address, keys):
    return EngineConfig(bind=(address,), bundle=str(tiny_bundle.folder), checkpoint_s=0.2, curve=keys.server, **LIMITS)


@pytest.fixture
def outbox(tmp_path):
    return OutboxConfig(path=tmp_path / "outbox.db")


@pytest.fixture
def engine(config, outbox):
    running = Running(config, outbox)
    yield running
    running.close()


@pytest.fixture
def connect(address):
    made = []

    def connect(curve=None):
        made.append(Peer(address, curve))
        return made[-1]

    yield connect
    for peer in made:
        peer.close()


@pytest.fixture
def assert_undisturbed(tiny_bundle, outbox, tmp_path):
    """Compares a stream's events with those of an engine that nobody troubles."""

    def assert_undisturbed(records):
        got = [event for event in stored_events(outbox.path) if event.stream == records[0].stream]
        assert got
        assert essence(got) == essence(run_undisturbed(tiny_bundle, tmp_path / "reference.db", records))

    return assert_undisturbed


def block_of(stream, seed=1):
    return make_records(tones(seed, 1), stream=stream)[:1]


def from_nobody(connect, keys):
    connect(keys.client("nobody")).send(*block_of("gate"))


def in_plain_text(connect, _keys):
    connect().send(*block_of("gate"))


def to_another_server(connect, keys):
    other = Keys(keys.folder / "other")
    thief = keys.client("thief", streams=("yard",))
    connect(thief.model_copy(update={"server_key_file": other.folder / "server.pub"})).send(*block_of("yard"))


def another_ones_stream(connect, keys):
    peer = connect(keys.client("thief", streams=("yard", "gat")))
    for _ in range(3):
        peer.send(*block_of("gate"), *block_of("yard"))


def without_end(connect, keys):
    connect(keys.client("thief", streams=("*",))).blocks.send(bytes(LONGEST_MESSAGE + 1))


def of_many_streams(connect, keys):
    peer = connect(keys.client("thief", streams=("yard-*",)))
    for i in range(LIMITS["max_client_streams"] + 3):
        peer.send(*block_of(f"yard-{i}"))


def in_a_flood(connect, keys):
    peer = connect(keys.client("thief", streams=("yard",)))
    message = encode_records(make_records(tones(1, 30), stream="yard"))
    for _ in range(8):
        peer.blocks.send(message)


ATTACKS = [
    ("unknown_key", from_nobody),
    ("handshake", in_plain_text),
    ("handshake", to_another_server),
    ("foreign_stream", another_ones_stream),
    ("too_long", without_end),
    ("too_many_streams", of_many_streams),
    ("too_fast", in_a_flood),
]
"""By the reason that is counted."""


def senders(logs, reason):
    """Of whom the log tells."""
    return [log["sender"] for log in logs if log["event"] == "refused" and log["reason"] == reason]


@pytest.mark.parametrize(("reason", "attack"), ATTACKS)
@pytest.mark.usefixtures("engine")
def test_an_attack_is_counted_and_told_once_and_nobody_else_suffers(connect, keys, assert_undisturbed, reason, attack):
    records = make_records(tones(7, 3))
    honest = connect(keys.client("hall-pi", streams=("gate",)))
    honest.send(*records[: len(records) // 2])
    before = refused(reason)
    with capture_logs() as logs:
        attack(connect, keys)
        wait_for(lambda: refused(reason) > before and senders(logs, reason), "the refusal")
        honest.send(*records[len(records) // 2 :])
        honest.wait_for_ack("gate", lambda ack: ack.keep_sample == records[-1].end_sample)
    assert_undisturbed(records)
    told = senders(logs, reason)
    assert len(told) == len(set(told))


@pytest.mark.usefixtures("engine")
def test_what_zeromq_cuts_off_takes_nobody_along(connect, keys):
    """The connection ends as soon as the length is announced."""
    connect(keys.client("thief", streams=("yard",))).blocks.send(bytes(64 << 20))
    honest = connect(keys.client("hall-pi", streams=("gate",)))
    records = make_records(tones(7, 3))
    honest.send(*records)
    honest.wait_for_ack("gate", lambda ack: ack.keep_sample == records[-1].end_sample)


@pytest.mark.usefixtures("engine")
def test_a_key_that_is_revoked_is_cut_off_and_may_come_back(connect, keys):
    thief, honest = connect(keys.client("thief", streams=("yard",))), connect(keys.client("pi", streams=("gate",)))
    yard, gate = make_records(tones(3, 3), stream="yard"), make_records(tones(7, 3))
    received_before = received("yard")
    thief.send(*yard[:20])
    thief.wait_for_ack("yard", lambda ack: ack.needed_sample == yard[19].end_sample)
    honest.send(*gate[:20])
    honest.wait_for_ack("gate", lambda ack: ack.needed_sample == gate[19].end_sample)
    before = refused("unknown_key")  # all four connections stand: whoever was too early for the list came back
    keys.revoke("thief")
    wait_for(lambda: refused("unknown_key") > before, "the connection to be cut, and its owner to be refused")
    thief.send(*yard[20:])
    honest.send(*gate)  # as its ring does, from where the engine asks for it
    honest.wait_for_ack("gate", lambda ack: ack.keep_sample == gate[-1].end_sample)
    assert received("yard") - received_before <= yard[19].end_sample
    keys.allow("thief", streams=("yard",))
    thief.wait_for_ack("yard", lambda ack: ack.keep_sample == yard[-1].end_sample)


def received(stream):
    return REGISTRY.get_sample_value("earmark_received_samples_total", {"stream": stream}) or 0.0


@pytest.fixture
def gate(config):
    context = zmq.Context()
    made = Gate(context, config, Refusals())
    yield made
    made.close()
    context.destroy(linger=0)


def take(gate):
    assert gate.wait(int(DEADLINE_S * 1000))
    return gate.read(gate.drain(1 << 20)).names


def test_every_message_is_judged_by_the_list_as_it_is_now(gate, connect, keys):
    """The connection still stands: nobody has opened the sockets anew."""
    peer = connect(keys.client("pi", streams=("gate",)))
    peer.send(*block_of("gate"))
    assert take(gate) == ["gate"]
    keys.allow("pi", streams=("yard",))
    wait_for(lambda: gate._door.cuts == 1, "the list to be read again")
    peer.send(*block_of("gate"), *block_of("yard"))
    assert take(gate) == ["yard"]
    keys.revoke("pi")
    wait_for(lambda: gate._door.cuts == 2, "the list to be read again")
    before = refused("revoked_key")
    peer.send(*block_of("yard"))
    assert take(gate) == []
    assert refused("revoked_key") == before + 1


def test_a_list_that_cannot_be_read_changes_nothing(gate, connect, keys):
    peer = connect(keys.client("pi", streams=("gate",)))
    peer.send(*block_of("gate"))
    assert take(gate) == ["gate"]
    with capture_logs() as logs:
        keys.server.allow_file.write_text("clients: [")
        wait_for(lambda: any(log["log_level"] == "error" for log in logs), "the complaint")
    peer.send(*block_of("gate"))
    assert take(gate) == ["gate"]


def test_invented_streams_have_a_bound_without_keys_too(tiny_bundle, address, outbox, connect):
    config = EngineConfig(bind=(address,), bundle=str(tiny_bundle.folder), max_streams=3)
    running = Running(config, outbox, streams=("gate",))
    try:
        peer, before = connect(), refused("too_many_streams")
        for i in range(5):
            peer.send(*block_of(f"invented-{i}"))
        wait_for(lambda: refused("too_many_streams") == before + 3, "the refusals to be counted")
        records = make_records(tones(7, 3))
        peer.send(*records)
        peer.wait_for_ack("gate", lambda ack: ack.keep_sample == records[-1].end_sample)
    finally:
        running.close()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda keys: keys.server.key_file.unlink(), r"engine\.curve: .*server.key: expected a key, got: No such file"),
        (lambda keys: (keys.folder / "server.pub").replace(keys.server.key_file), "got an earmark-public-key"),
        (lambda keys: keys.server.key_file.write_text("earmark-secret-key: SECRET"), "got something else"),
        (lambda keys: keys.server.allow_file.unlink(), "expected the list of allowed keys, got: No such file"),
        (
            lambda keys: keys.server.allow_file.write_text("clients: {a: {key: short}}"),
            r"clients\.a\.key: expected a pub",
        ),
        (lambda keys: keys.server.allow_file.write_text(json.dumps({"client": {}})), r"client: Extra inputs"),
    ],
)
def test_files_that_cannot_be_used_are_told_in_one_line_without_secrets(config, keys, spoil, expected):
    spoil(keys)
    context = zmq.Context()
    try:
        with pytest.raises(ConfigError, match=expected) as caught:
            Gate(context, config, Refusals())
    finally:
        context.destroy(linger=0)
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_off_loopback_wants_keys_or_a_word(keys):
    with pytest.raises(ValidationError, match=r"bind 127.0.0.1, set engine\.curve .*, or write insecure: true"):
        EngineConfig(bind=("tcp://0.0.0.0:7701",))
    assert EngineConfig(bind=("tcp://0.0.0.0:7701",), curve=keys.server).bind


def test_an_engine_whose_door_does_not_work_does_not_go_on(keys, monkeypatch):
    """Without it revoked keys would go on, and nobody new would come in."""
    monkeypatch.setattr(earmark.links.door, "_WATCH_S", 0.05)
    config = EngineConfig(bind=(free_address(),), curve=keys.server)
    with zmq.Context() as context, closing(Gate(context, config, Refusals())) as gate:
        monkeypatch.setattr(earmark.links.door, "_stamp", lambda _path: 1 / 0)
        wait_for(lambda: gate._door.error is not None, "the error")
        with pytest.raises(ZeroDivisionError):
            gate.tend()
