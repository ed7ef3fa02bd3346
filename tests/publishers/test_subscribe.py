"""What a subscriber gets: every event once, in order, whatever happens to sockets, publishers and the outbox."""

import logging
import threading

import pytest
import zmq

import earmark.client
import publishers.zeromq
from earmark.client import subscribe
from earmark.contracts.errors import ConfigError, WireError
from earmark.outbox.config import OutboxConfig
from publishers.zeromq import ZeroMqSink
from tests.publishers.publishing import Engine, Service, take
from tests.support.events import make_event
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S


def test_events_come_in_order_and_whole(engine: Engine, service: Service):
    with service.start().subscribe() as events:
        engine.commit(("gate", "dog"), ("yard", "siren"))
        first, second = next(events), next(events)
    assert (first.seq, first.stream, first.label) == (1, "gate", "dog")
    assert (second.seq, second.stream, second.label) == (2, "yard", "siren")
    assert first == make_event(1).model_copy(
        update={"seq": 1, "onset_time": first.onset_time, "decided_at": first.decided_at}
    )


def test_now_begins_when_subscribe_returns(engine: Engine, service: Service):
    engine.commit(n=3)
    with service.start().subscribe() as events:
        assert events.covered == 3
        engine.commit(n=2)
        assert take(events, 2) == [4, 5]


@pytest.mark.parametrize("since", [0, 700, 1200])
def test_since_gives_history_then_live(engine: Engine, service: Service, since: int):
    engine.commit_many(1200)
    with service.start().subscribe(since=since) as events:
        assert take(events, 1200 - since) == list(range(since + 1, 1201))
        engine.commit(n=2)
        assert take(events, 2) == [1201, 1202]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"streams": ["gate"]}, [1, 2, 5, 6]),
        ({"labels": ["dog"]}, [1, 3, 5, 7]),
        ({"streams": ["gate"], "labels": ["dog"]}, [1, 5]),
        ({"streams": "yard", "labels": "dog_bark"}, [4, 8]),
        ({"streams": ["gate", "yard"], "labels": ["dog", "dog_bark"]}, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_filters_hold_for_history_and_live(engine: Engine, service: Service, options: dict[str, object], expected):
    sounds = [("gate", "dog"), ("gate", "dog_bark"), ("yard", "dog"), ("yard", "dog_bark")]
    engine.commit(*sounds)
    with service.start().subscribe(since=0, **options) as events:
        half = len(expected) // 2
        assert take(events, half) == expected[:half]
        engine.commit(*sounds)
        assert take(events, half) == expected[half:]
        engine.commit(*sounds)
        assert all(seq > 8 for seq in take(events, half))


def test_heartbeat_covers_what_the_filter_leaves_out(engine: Engine, service: Service):
    with service.start().subscribe(streams=["gate"]) as events:
        engine.commit(("yard", "dog"), n=5)
        engine.commit(("gate", "dog"))
        assert take(events, 1) == [6]
        assert events.covered == 6


@pytest.mark.parametrize("labels", [(), ("dog",)])
def test_one_stream_among_many_needs_no_history(
    engine: Engine, service: Service, labels: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(publishers.zeromq, "HEARTBEAT_S", 1e6)
    with service.start().subscribe(streams=["gate"], labels=labels) as events:
        engine.commit(("yard", "dog"), ("gate", "dog"))
        assert take(events, 1) == [2]  # the first one may have to ask: nobody knows what came before the publishers

        def refuse(*_: object) -> None:
            raise AssertionError("the history was asked")

        monkeypatch.setattr(earmark.client._History, "ask", refuse)
        for begin in range(2, 42, 4):
            engine.commit(("yard", "dog"), ("gate", "cat"), ("yard", "cat"), ("gate", "dog"))
            wanted = [begin + 4] if labels else [begin + 2, begin + 4]
            assert take(events, len(wanted)) == wanted


@pytest.mark.parametrize("lost", ["gate", "yard"])
def test_an_event_of_the_only_stream_that_is_lost_on_the_way_is_asked_for(
    engine: Engine, service: Service, lost: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(publishers.zeromq, "HEARTBEAT_S", 1e6)
    send, asked = ZeroMqSink._send, list[int | None]()
    ask = earmark.client._History.ask
    dropped = (f"{lost}/siren".encode(),)
    monkeypatch.setattr(ZeroMqSink, "_send", lambda sink, *parts: parts[:1] != dropped and send(sink, *parts))
    with service.start().subscribe(streams=["gate"]) as events:
        engine.commit()
        assert take(events, 1) == [1]
        monkeypatch.setattr(
            earmark.client._History, "ask", lambda of, since, by: asked.append(since) or ask(of, since, by)
        )
        engine.commit((lost, "siren"), ("gate", "dog"))
        assert take(events, 2 if lost == "gate" else 1) == ([2, 3] if lost == "gate" else [3])
    assert asked == ([1] if lost == "gate" else [])


def test_publishers_of_a_release_that_tells_less(
    engine: Engine, service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    send = ZeroMqSink._send
    monkeypatch.setattr(ZeroMqSink, "_send", lambda sink, *parts: send(sink, *parts[:2]))
    with caplog.at_level(logging.WARNING), service.start().subscribe(streams=["gate"]) as events:
        for begin in (0, 2):
            engine.commit(("yard", "dog"), ("gate", "dog"))
            assert take(events, 1) == [begin + 2]
    assert not caplog.records


def test_publishers_that_restart_lose_and_repeat_nothing(engine: Engine, service: Service):
    with service.start().subscribe(since=0) as events:
        seen: list[int] = []
        for _ in range(3):
            engine.commit(n=20)
            seen += take(events, 10)
            service.stop()
            engine.commit(n=20)
            service.start()
            seen += take(events, 30)
        assert seen == list(range(1, 121))


def test_subscriber_that_comes_before_the_publishers(engine: Engine, service: Service):
    engine.commit(n=2)
    with service.subscribe(since=0) as events:
        service.start()
        assert take(events, 2) == [1, 2]


def test_slow_subscriber_gets_what_pub_dropped(engine: Engine, outbox: OutboxConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(publishers.zeromq, "HIGH_WATER_MARK", 1)
    service = Service(outbox).start()
    try:
        with service.subscribe(since=0) as events:
            engine.commit()
            assert take(events, 1) == [1]
            engine.commit_many(20_000)  # far more than all queues on the way hold
            engine.commit()
            assert take(events, 20_001) == list(range(2, 20_003))
            engine.commit()
            assert take(events, 1) == [20_003]
    finally:
        service.stop()


def test_what_another_release_wrote_ends_nothing(engine: Engine, service: Service, caplog: pytest.LogCaptureFixture):
    """What it added is left out; what cannot be read is skipped, told and counted."""
    engine.commit(n=5)
    engine.spoil(2)
    engine.spoil(3, "phase", "middle")
    engine.spoil(4, "onset_sample", "-1")
    with caplog.at_level(logging.WARNING), service.start().subscribe(since=0) as events:
        assert take(events, 3) == [1, 2, 5]
        engine.commit()
        assert take(events, 1) == [6]
        assert events.skipped == 2
    told = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert [message[:17] for message in told] == ["event 3 skipped: ", "event 4 skipped: "]
    assert "(phase: Input should be 'onset' or 'offset')" in told[0]


def test_retention_is_told_with_its_count(engine: Engine, service: Service, caplog: pytest.LogCaptureFixture):
    engine.commit(n=7)
    engine.forget()
    engine.commit(n=2)
    with caplog.at_level(logging.WARNING), service.start().subscribe(since=3) as events:
        assert take(events, 2) == [8, 9]
    assert "4 events between 3 and 8 were removed by retention" in caplog.text


def test_outbox_that_is_replaced_begins_again(engine: Engine, service: Service, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING), service.start().subscribe(since=0) as events:
        engine.commit(n=3)
        assert take(events, 3) == [1, 2, 3]
        before = events.outbox
        engine.replace()
        engine.commit(n=5)
        assert take(events, 5) == [1, 2, 3, 4, 5]
        assert events.outbox != before
    assert f"outbox {before} was replaced" in caplog.text


def test_outbox_that_was_replaced_while_everyone_was_away(engine: Engine, service: Service):
    with service.start().subscribe(since=0) as events:
        engine.commit(n=3)
        assert take(events, 3) == [1, 2, 3]
        service.stop()
        engine.replace()
        engine.commit(n=3)
        service.start()
        assert take(events, 3) == [1, 2, 3]
        old = events.outbox
    engine.commit()
    with service.subscribe(since=2, outbox="another") as events:
        assert take(events, 4) == [1, 2, 3, 4]
    with service.subscribe(since=2, outbox=old) as events:
        assert take(events, 2) == [3, 4]


def test_since_beyond_the_outbox_begins_again(engine: Engine, service: Service):
    engine.commit(n=2)
    with service.start().subscribe(since=99) as events:
        assert take(events, 2) == [1, 2]


def test_timeout_ends_the_iteration(engine: Engine, service: Service):
    engine.commit(n=2)
    events = service.start().subscribe(since=0)
    assert take(events, 2) == [1, 2]
    events._timeout_s = 0.1
    assert list(events) == []


def test_nobody_there_ends_by_timeout():
    assert list(subscribe(free_address(), free_address(), timeout_s=0.2)) == []


def test_a_history_that_is_away_is_told_once_and_so_is_its_return(
    engine: Engine, service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    engine.commit()
    monkeypatch.setattr(earmark.client, "_REQUEST_S", 0.1)
    address, context = service.zeromq.history_bind, zmq.Context()
    history = earmark.client._History(context, address, (), ())
    try:
        with caplog.at_level(logging.INFO, "earmark.client"):
            assert [history.ask(0, None) for _ in range(2)] == [None, None]
            service.start()
            assert any(history.ask(0, None) is not None for _ in range(50))
            assert any(history.ask(0, None) is not None for _ in range(50))
    finally:
        history.close()
        context.term()
    silence = "no answer; is `earmark run` or `earmark publish` up there, and do they want a key?"
    assert [
        (record.levelname, record.getMessage()) for record in caplog.records if record.name == "earmark.client"
    ] == [
        ("WARNING", f"history {address}: {silence} trying again"),
        ("INFO", f"history {address}: answers again"),
    ]


def test_a_loop_that_is_left_closes_its_sockets(engine: Engine, service: Service):
    engine.commit(n=2)
    for event in service.start().subscribe(since=0):
        assert event.seq == 1
        break


def test_unusable_arguments():
    with pytest.raises(ConfigError, match="expected an address"):
        subscribe("nonsense")
    with pytest.raises(ConfigError, match="expected an address"):
        subscribe(free_address(), "nonsense")
    with pytest.raises(ConfigError, match="0 or more, got -1"):
        subscribe(since=-1)
    with pytest.raises(ConfigError, match="at most 1000 streams"):
        subscribe(streams=[f"s{i}" for i in range(1001)])


def test_history_of_another_version_says_so():
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    events = subscribe(free_address(), f"tcp://127.0.0.1:{port}", since=0, timeout_s=DEADLINE_S)
    try:

        def answer() -> None:
            identity, _ = router.recv_multipart()
            router.send_multipart([identity, b'{"outbox": 3}'])

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(WireError, match="run the same Earmark on both ends"):
            next(events)
        thread.join()
    finally:
        events.close()
        router.close()
        context.term()


def test_garbage_on_the_live_socket_harms_nothing(engine: Engine, service: Service):
    """The address of a foreign PUB: the history alone still gives everything."""
    context = zmq.Context()
    foreign = context.socket(zmq.PUB)
    port = foreign.bind_to_random_port("tcp://127.0.0.1")
    engine.commit(n=2)
    service.start()
    with subscribe(f"tcp://127.0.0.1:{port}", service.zeromq.history_bind, since=0, timeout_s=DEADLINE_S) as events:
        assert take(events, 2) == [1, 2]
        engine.commit()
        with events_from(foreign, [[b"\xff"], [b"gate/dog", b"{"], [b"/newest", b"[]"], [b"gate/dog"]]):
            assert take(events, 1) == [3]
    foreign.close(0)
    context.term()


class events_from:  # noqa: N801 -- reads as a phrase
    """Sends messages again and again from a thread while the block runs: a PUB's first ones may find nobody."""

    def __init__(self, socket: zmq.Socket, messages: list[list[bytes]]) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(socket, messages))

    def _run(self, socket: zmq.Socket, messages: list[list[bytes]]) -> None:
        while not self._stop.wait(0.01):
            for message in messages:
                socket.send_multipart(message)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_both_ends_name_the_same_topics():
    assert earmark.client.NEWEST_TOPIC == publishers.zeromq.NEWEST_TOPIC
    assert earmark.client.WELCOME_PREFIX == publishers.zeromq.WELCOME_PREFIX


def test_a_request_that_nobody_can_take_is_given_up():
    """As after a handshake that failed: the socket has no connection left, and none to come."""
    with subscribe(free_address(), free_address(), since=0, timeout_s=0.5) as subscription:
        history = subscription._history
        history._socket.disconnect(history._address)
        assert list(subscription) == []
