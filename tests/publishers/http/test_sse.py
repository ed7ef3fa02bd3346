"""Events as they happen: nothing is lost by going away, and nobody who is slow holds up others."""

import socket
import threading
from collections import Counter
from itertools import islice

import pytest

from earmark.telemetry import metrics
from publishers.http import sse, tail
from publishers.http.protocol import PatientProtocol
from tests.publishers.http.serving import Messages, http_config
from tests.publishers.publishing import take
from tests.support.waiting import DEADLINE_S, wait_for

BUSY_HOUR_EVENTS = 7_200
"""A sound that begins or ends every half second; more than any queue or page holds."""


def seqs_of(events):
    return [event["seq"] for event in events]


def test_an_event_is_told_as_it_happens(engine, serve, connect):
    engine.commit(n=3)
    client = connect(serve())
    with client.follow() as messages:
        engine.commit(n=2)
        events = messages.take(2)
    assert seqs_of(events) == [4, 5]
    assert events == client.all_events(since=3)


def test_who_was_away_gets_all_by_its_last_id_as_from_history_and_rest(engine, serve, connect):
    service = serve()
    client = connect(service)
    with client.follow() as messages:
        engine.commit(n=2)
        last = messages.take(2)[-1]["seq"]
    engine.commit_many(BUSY_HOUR_EVENTS)
    service.stop()
    engine.commit(("yard", "siren"), n=3)
    service.start()
    n = BUSY_HOUR_EVENTS + 3
    with client.follow(last=last) as messages:
        missed = messages.take(n)
        engine.commit()
        assert seqs_of(messages.take(1)) == [last + n + 1]
    assert seqs_of(missed) == list(range(last + 1, last + n + 1))
    assert missed == client.all_events(since=last, limit=1000)[:n]
    with service.subscribe(since=last) as subscription:
        assert take(subscription, n) == seqs_of(missed)


def test_what_another_release_wrote_is_skipped(engine, serve, connect):
    """From the outbox and live; counted once, when it comes."""
    engine.commit(n=3)
    engine.spoil(1)
    engine.spoil(3)
    client = connect(serve())
    with client.follow(since=0) as messages:
        assert seqs_of(messages.take(1)) == [2]
        lost = metrics.SINK_LOST.labels("http")._value.get()
        engine.commit_many(2)
        engine.spoil(5)
        engine.commit(n=2)
        assert seqs_of(messages.take(3)) == [4, 6, 7]
    assert metrics.SINK_LOST.labels("http")._value.get() == lost + 1
    with client.follow(since=0) as messages:
        assert seqs_of(messages.take(4)) == [2, 4, 6, 7]


def test_filters_and_the_cursor_of_who_cannot_send_headers(engine, serve, connect):
    engine.commit(("gate", "dog"), ("yard", "siren"), n=3)
    client = connect(serve())
    with client.follow(since=1, label="siren", stream=["yard", "attic"], min_score=0.5) as messages:
        assert seqs_of(messages.take(3)) == [2, 4, 6]
        engine.commit(("yard", "dog"), ("yard", "siren"))
        assert seqs_of(messages.take(1)) == [8]
    with client.follow(last=4, since=1, phase="onset") as messages:
        assert seqs_of(messages.take(1)) == [5]


def test_a_heartbeat_moves_the_place_of_a_narrow_filter(engine, serve, connect, monkeypatch):
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.05)
    client = connect(serve())
    with client.follow(label="siren") as messages:
        engine.commit(n=7)
        wait_for(lambda: next(line for line in messages._lines if line.startswith("id:")) == "id: 7")


def test_a_narrow_filter_knows_its_place_however_much_else_happens(engine, serve, connect, monkeypatch):
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.5)
    engine.commit(n=3)
    client = connect(serve())
    with client.follow(label="siren") as messages:
        ids = (int(line.removeprefix("id: ")) for line in messages._lines if line.startswith("id: "))
        found = []
        reader = threading.Thread(target=lambda: found.extend(islice(ids, 3)))
        reader.start()
        wait_for(lambda: engine.commit() or not reader.is_alive(), "heartbeats")
    assert 3 < found[0] < found[1] < found[2]


def test_another_outbox_is_told_from_its_begin(engine, serve, connect):
    engine.commit(n=5)
    client = connect(serve())
    with client.follow() as messages:
        engine.replace()
        told = messages.next()
        assert (told["event"], told["id"]) == ("outbox", "0")
        engine.commit(n=2)
        assert seqs_of(messages.take(2)) == [1, 2]
    with client.follow(last=5) as messages:
        assert seqs_of(messages.take(2)) == [1, 2]


def test_a_place_in_the_past_may_lie_before_what_is_remembered(engine, serve, connect, monkeypatch):
    monkeypatch.setattr(tail, "MOST_EVENTS", 10)
    client = connect(serve())
    with client.follow() as messages:
        engine.commit_many(300)
        engine.commit()
        assert seqs_of(messages.take(301)) == list(range(1, 302))
        with client.follow(last=0) as others:
            assert seqs_of(others.take(301)) == list(range(1, 302))


def test_who_does_not_read_is_cut_off_and_others_go_on(engine, serve, connect, monkeypatch):
    monkeypatch.setattr("publishers.http.protocol.DRAIN_S", 2.0)  # who reads may be held up for a while
    cut = threading.Event()
    lost = PatientProtocol.connection_lost

    def note(self, exc):
        cut.set()
        lost(self, exc)

    service = serve()
    client = connect(service)
    with client.follow() as messages, _deaf(service) as deaf:
        monkeypatch.setattr(PatientProtocol, "connection_lost", note)
        total = 0
        while not cut.is_set() and total < 200_000:
            engine.commit_many(2000)
            engine.commit()
            total += 2001
            assert seqs_of(messages.take(2001))[-1] == total
            cut.wait(0.1)
        assert cut.is_set()
        assert deaf.fileno() > 0
    with client.follow(last=total - 1) as again:
        assert seqs_of(again.take(1)) == [total]


def _deaf(service):
    """A subscriber that never reads."""
    host, _, port = service.config.http.bind.rpartition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.sendall(
        f"GET /api/v1/events/stream?since=0 HTTP/1.1\r\nHost: {service.config.http.bind}\r\n\r\n".encode()
    )
    return connection


def test_room_for_so_many(serve, connect):
    service = serve(http_config(max_streams=3, max_streams_per_client=2))
    client = connect(service)
    with client.follow(), client.follow():
        refused = client.get("/api/v1/events/stream")
        assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
        assert int(refused.headers["retry-after"]) > 0
        assert metrics.HTTP_STREAMS.labels("events")._value.get() == 2
    wait_for(lambda: metrics.HTTP_STREAMS.labels("events")._value.get() == 0)
    with client.follow():
        pass


@pytest.mark.parametrize("path", ["live", "events/stream"])
def test_requests_that_come_together_share_the_room(serve, path):
    """Their bodies begin later: a limit that is only looked at before would let all of them in."""
    service = serve(http_config(max_streams=4, max_streams_per_client=4, max_connections=100))
    host, _, port = service.config.http.bind.rpartition(":")
    connections = [socket.create_connection((host, int(port)), DEADLINE_S) for _ in range(40)]
    for connection in connections:
        connection.sendall(f"GET /api/v1/{path} HTTP/1.1\r\nHost: {service.config.http.bind}\r\n\r\n".encode())
    answers = Counter(connection.recv(12).decode() for connection in connections)
    assert answers == {"HTTP/1.1 200": 4, "HTTP/1.1 429": 36}
    for connection in connections:
        connection.close()
    kind = path.partition("/")[0]
    wait_for(lambda: metrics.HTTP_STREAMS.labels(kind)._value.get() == 0)


def test_clients_that_leave_at_once_give_their_seats_back(serve, connect):
    service = serve(http_config(max_streams=4, max_streams_per_client=4))
    for _ in range(20):
        _deaf(service).close()
    client = connect(service)
    wait_for(lambda: client.get("/healthz").status_code == 200)
    wait_for(lambda: metrics.HTTP_STREAMS.labels("events")._value.get() == 0)
    with client.follow(), client.follow():
        pass


def test_stopping_ends_those_who_follow(serve, connect):
    service = serve()
    client = connect(service)
    with client.follow() as messages:
        stopping = threading.Thread(target=service.stop)
        stopping.start()
        with pytest.raises(EOFError):
            Messages.next(messages)
        stopping.join(DEADLINE_S)
        assert not stopping.is_alive()
