"""The history socket as any program sees it: plain JSON over REQ."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earmark.outbox import OutboxReader
from earmark.outbox.config import OutboxConfig
from earmark.telemetry.metrics import REGISTRY
from publishers.history import SPAN, HistoryRequest, answer_request
from tests.publishers.publishing import Engine, Service
from tests.support.waiting import DEADLINE_S, wait_for

Ask = Callable[[bytes], dict[str, Any]]


@pytest.fixture
def ask(service: Service) -> Iterator[Ask]:
    service.start()
    context = zmq.Context()
    peer = context.socket(zmq.REQ)
    peer.connect(service.zeromq.history_bind)

    def ask(request: bytes) -> dict[str, Any]:
        peer.send(request)
        assert peer.poll(DEADLINE_S * 1000)
        return json.loads(peer.recv())

    yield ask
    peer.close(0)
    context.term()


def _refused() -> float:
    return REGISTRY.get_sample_value("earmark_refused_records_total", {"reason": "history"}) or 0.0


def test_answers(engine: Engine, ask: Ask):
    engine.commit(("gate", "dog"), ("yard", "dog"), n=2)
    answer = ask(b'{"since": 1, "limit": 2}')
    assert [event["seq"] for event in answer["events"]] == [2, 3]
    assert (answer["newest"], answer["oldest"], answer["covered"]) == (4, 1, 3)
    assert ask(b'{"since": 3, "through": 3}')["covered"] == 3
    assert ask(b'{"since": 0, "streams": ["gate"], "labels": ["dog"]}')["covered"] == 4
    assert ask(b'{"since": 0, "streams": ["nobody"]}')["events"] == []
    assert ask(b"{}") == {"outbox": answer["outbox"], "newest": 4, "oldest": 1, "covered": 4, "events": []}


def test_a_request_of_many_parts_is_refused_and_not_sent_back(service: Service, ask: Ask):
    before = _refused()
    context = zmq.Context()
    with context.socket(zmq.DEALER) as peer:
        peer.connect(service.zeromq.history_bind)
        peer.send_multipart([b"x" * 1000] * 50 + [b'{"since": 0}'])
        wait_for(lambda: _refused() == before + 1, "the refusal")
        peer.send_multipart([b"by", b"way of", b'{"since": 0}'])
        assert peer.poll(DEADLINE_S * 1000)
        assert len(peer.recv_multipart()) == 3
    context.term()
    assert ask(b'{"since": 0}')["events"] == []


def test_nothing_left(engine: Engine, ask: Ask):
    assert ask(b'{"since": 0}')["covered"] == 0
    engine.commit(n=3)
    engine.forget()
    answer = ask(b'{"since": 0}')
    assert (answer["newest"], answer["oldest"], answer["covered"], answer["events"]) == (3, 4, 3, [])


def test_a_filter_without_hits_costs_a_bounded_look(engine: Engine, outbox: OutboxConfig):
    engine.commit_many(SPAN + 10)
    reader = OutboxReader(outbox.path)
    request = HistoryRequest(since=0, streams=["nobody"])
    assert json.loads(answer_request(reader, request))["covered"] == SPAN
    reader.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b'"since"',
        b'{"since": -1}',
        b'{"since": "1"}',
        b'{"since": 1.5}',
        b'{"since": 9223372036854775808}',
        b'{"since": 0, "limit": 0}',
        b'{"since": 0, "limit": 1001}',
        b'{"since": 0, "streams": "gate"}',
        b'{"since": 0, "streams": [1]}',
        b'{"since": 0, "sinse": 0}',
        b'{"since": 0, "labels": ["\\ud800"]}',
    ],
)
def test_malformed_requests_are_refused_and_counted(ask: Ask, request_bytes: bytes):
    before = _refused()
    assert set(ask(request_bytes)) == {"error"}
    assert _refused() == before + 1
    assert ask(b"{}")["newest"] == 0


def test_the_refusal_names_the_field(ask: Ask):
    assert ask(b'{"since": -1}')["error"].startswith("since: Input should be greater than or equal to 0")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["since", "limit", "streams", "labels"]), inner),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | _json.map(lambda value: json.dumps(value).encode()))
def test_nothing_that_is_sent_ends_it(ask: Ask, request_bytes: bytes):
    assert set(ask(request_bytes)) in ({"error"}, {"outbox", "newest", "oldest", "covered", "events"})


def test_an_oversized_request_harms_only_who_sent_it(service: Service, ask: Ask):
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.setsockopt(zmq.LINGER, 0)
        monitor = peer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        peer.connect(service.zeromq.history_bind)
        peer.send(b" " * 100_000)
        assert monitor.poll(DEADLINE_S * 1000), "the connection was not closed"
        peer.disable_monitor()
        monitor.close()
    assert ask(b"{}")["newest"] == 0
