"""Webhooks against a real server: what is sent, and that it comes in the end, in order, whatever the server does."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from earmark.app.config import ServiceConfig
from earmark.app.service import sinks_are_drained
from earmark.outbox.config import OutboxConfig
from publishers.config import JsonlConfig, PublishersConfig
from publishers.jsonl import JsonlFileSink
from publishers.webhook.client import LONGEST_RETRY_AFTER_S, WebhookClient
from publishers.webhook.config import WebhookConfig
from publishers.worker import Backoff, Worker
from tests.publishers.hooks import Hook, events_of, metric
from tests.publishers.publishing import Engine, Service, seqs
from tests.publishers.receiver import Answer, Receiver, Request, answer, answer_late, drip, drop, hang
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S, wait_for


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_structured(engine: Engine, outbox: OutboxConfig, receiver: Receiver):
    engine.commit(("gate", "dog"))
    with Hook(outbox, receiver.url, source_prefix="https://house.example/", headers={"Authorization": "Bearer x"}):
        wait_for(lambda: bool(receiver.taken))
    (event,), (request,) = events_of(outbox), receiver.requests
    assert request.path == "/hooks/PATHSECRET"
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["authorization"] == "Bearer x"
    assert request.key == request.headers["webhook-id"] == f"{event.event_id}/onset"
    assert "webhook-signature" not in request.headers
    assert request.json == {
        "specversion": "1.0",
        "id": f"{event.event_id}/onset",
        "source": "https://house.example/streams/gate",
        "type": "earmark.sound.onset",
        "subject": "dog",
        "time": event.onset_time.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": event.model_dump(mode="json"),
    }


def test_binary(engine: Engine, outbox: OutboxConfig, receiver: Receiver):
    engine.commit(("gate", 'näh "100%"'))
    with Hook(outbox, receiver.url, mode="binary"):
        wait_for(lambda: bool(receiver.taken))
    (event,), (request,) = events_of(outbox), receiver.requests
    assert request.headers["content-type"] == "application/json"
    assert request.json == event.model_dump(mode="json")
    attributes = {name: value for name, value in request.headers.items() if name.startswith("ce-")}
    assert attributes == {
        "ce-specversion": "1.0",
        "ce-id": f"{event.event_id}/onset",
        "ce-source": "/streams/gate",
        "ce-type": "earmark.sound.onset",
        "ce-subject": "n%C3%A4h%20%22100%25%22",
        "ce-time": event.onset_time.isoformat().replace("+00:00", "Z"),
    }


def test_batches_hold_what_is_there_and_keep_the_order(engine: Engine, outbox: OutboxConfig, receiver: Receiver):
    engine.commit(n=7)
    with Hook(outbox, receiver.url, mode="batch", max_batch=3):
        wait_for(lambda: len(receiver.taken_ids) == 7)
    assert [len(request.json) for request in receiver.taken] == [3, 3, 1]
    assert receiver.taken_ids == [f"{event.event_id}/onset" for event in events_of(outbox)]
    assert receiver.taken[0].headers["content-type"] == "application/cloudevents-batch+json"
    assert len({request.key for request in receiver.taken}) == 3


def test_only_what_the_filter_takes_and_the_rest_is_not_waited_for(
    engine: Engine, outbox: OutboxConfig, receiver: Receiver
):
    engine.commit(("gate", "dog"), ("yard", "siren"), ("gate", "siren"), n=3)
    with Hook(outbox, receiver.url, filter={"streams": ["gate"], "labels": ["siren"]}):
        wait_for(lambda: metric("sink_depth_events") == 0 and len(receiver.taken) == 3)
    assert receiver.seqs == [3, 6, 9]


@pytest.mark.parametrize(
    "fault", [hang, answer_late, drop, drip, answer(500), answer(503), answer(408), answer(425), answer(429)]
)
def test_everything_comes_in_the_end_in_order(engine: Engine, outbox: OutboxConfig, receiver: Receiver, fault: Answer):
    answers = iter([answer(200), fault, fault, answer(200), fault])
    receiver.decide = lambda request: next(answers, answer(200))
    engine.commit(n=5)
    is_timed = fault in {hang, answer_late, drip}
    with Hook(outbox, receiver.url, timeout_s=0.3 if is_timed else DEADLINE_S) as hook:
        wait_for(lambda: {1, 2, 3, 4, 5} == set(receiver.seqs))
        assert hook.dead() == []
    tried = [request.json["data"]["seq"] for request in receiver.requests]
    assert tried == sorted(tried)
    if not is_timed:  # a good answer may come late too, where the machine is busy
        assert tried == [1, 2, 2, 2, 3, 3, 4, 5]
    assert len({request.key for request in receiver.requests}) == 5, "an event keeps its key"


@pytest.mark.parametrize("mode", ["structured", "batch"])
def test_what_another_release_wrote_is_skipped(engine: Engine, outbox: OutboxConfig, receiver: Receiver, mode: str):
    lost, taken = metric("sink_lost_events_total"), metric("sink_events_total")
    answers = iter([answer(500), answer(200), answer(500)])
    receiver.decide = lambda request: next(answers, answer(200))
    engine.commit(n=7)
    for seq in (1, 4, 5):
        engine.spoil(seq)
    with capture_logs() as logs, Hook(outbox, receiver.url, mode=mode) as hook:
        wait_for(lambda: len(receiver.taken_ids) == 4)
        engine.commit(n=2)
        wait_for(lambda: len(receiver.taken_ids) == 6)
        assert hook.dead() == []
    told = [event["data"]["seq"] for request in receiver.taken for event in listed(request.json)]
    assert told == [2, 3, 6, 7, 8, 9]
    assert [log["seq"] for log in logs if log["event"] == "event skipped"] == [1, 4, 5]
    assert len([log for log in logs if log["event"] == "sink failed"]) == 2
    assert metric("sink_lost_events_total") == lost + 3
    assert metric("sink_events_total") == taken + 6


def listed(content: object) -> list[Any]:
    return content if isinstance(content, list) else [content]


def test_a_batch_that_failed_comes_again_under_the_same_key(engine: Engine, outbox: OutboxConfig, receiver: Receiver):
    is_up = threading.Event()
    receiver.decide = lambda request: answer(200 if is_up.is_set() else 500)
    engine.commit(n=3)
    with Hook(outbox, receiver.url, mode="batch"):
        wait_for(lambda: bool(receiver.requests))
        engine.commit(n=2)  # more is there when it is tried again
        wait_for(lambda: len(receiver.requests) == 3)
        is_up.set()
        wait_for(lambda: len(receiver.taken_ids) == 5)
    assert len({(request.key, request.body) for request in receiver.requests[:3]}) == 1
    assert [len(request.ids) for request in receiver.taken] == [3, 2]


def test_nobody_there_and_then_somebody(engine: Engine, outbox: OutboxConfig):
    engine.commit(n=3)
    port = int(free_address().rpartition(":")[2])
    before = metric("sink_failures_total")
    with Hook(outbox, f"http://127.0.0.1:{port}/") as hook:
        wait_for(lambda: metric("sink_failures_total") >= before + 2)
        assert hook.dead() == []


@pytest.mark.parametrize("status", [400, 401, 404, 410, 413, 301, 307])
def test_what_is_refused_for_good_goes_to_the_dead_letters_at_once(
    engine: Engine, outbox: OutboxConfig, receiver: Receiver, status: int
):
    elsewhere = answer(status, Location=receiver.url + "/elsewhere")
    receiver.decide = lambda request: elsewhere if request.json["data"]["seq"] == 2 else answer(200)
    before = metric("sink_dead_letters_total")
    engine.commit(n=3)
    with Hook(outbox, receiver.url) as hook:
        wait_for(lambda: len(receiver.taken) == 2 and bool(hook.dead()))
        (letter,) = hook.dead()
    assert (letter.sink, letter.stored.seq, letter.attempts) == ("webhook.ops", 2, 1)
    assert letter.reason.startswith(f"answered {status} ")
    assert receiver.seqs == [1, 3]
    assert {request.path for request in receiver.requests} == {"/hooks/PATHSECRET"}, "no redirect is followed"
    assert metric("sink_dead_letters_total") == before + 1


@pytest.mark.parametrize("limit", [{"max_attempts": 2}, {"max_age_s": 0.2}])
def test_a_poisonous_event_blocks_nothing_for_ever(
    engine: Engine, outbox: OutboxConfig, receiver: Receiver, limit: dict[str, float]
):
    receiver.decide = lambda request: answer(500) if request.json["data"]["seq"] == 2 else answer(200)
    engine.commit(n=3)
    with Hook(outbox, receiver.url, **limit) as hook:
        wait_for(lambda: len(receiver.taken) == 2)
        (letter,) = hook.dead()
    assert letter.stored.seq == 2
    assert letter.attempts >= 2
    assert receiver.seqs == [1, 3]


def test_one_bad_event_of_a_batch_goes_alone(engine: Engine, outbox: OutboxConfig, receiver: Receiver):
    engine.commit(n=5)
    bad = f"{events_of(outbox)[2].event_id}/onset"
    receiver.decide = lambda request: answer(422) if bad in request.ids else answer(200)
    with Hook(outbox, receiver.url, mode="batch") as hook:
        wait_for(lambda: len(receiver.taken_ids) == 4)
        engine.commit(n=2)
        wait_for(lambda: len(receiver.taken_ids) == 6)
        assert [letter.stored.seq for letter in hook.dead()] == [3]
    assert [len(request.ids) for request in receiver.requests] == [5, 1, 1, 1, 1, 1, 2]


def test_retry_after_is_honoured(engine: Engine, outbox: OutboxConfig, receiver: Receiver):
    times_s: list[float] = []

    def decide(_request: Request) -> Answer:
        times_s.append(time.monotonic())
        return answer(429, Retry_After="1") if len(times_s) == 1 else answer(200)

    receiver.decide = decide
    engine.commit()
    with Hook(outbox, receiver.url):
        wait_for(lambda: bool(receiver.taken))
    assert times_s[1] - times_s[0] >= 1.0


@pytest.mark.parametrize(
    ("header", "least_s", "most_s"),
    [
        ("7", 7, 7),
        ("99999999", LONGEST_RETRY_AFTER_S, LONGEST_RETRY_AFTER_S),
        ("Fri, 01 Jan 2100 00:00:00 GMT", LONGEST_RETRY_AFTER_S, LONGEST_RETRY_AFTER_S),
        ("Fri, 01 Jan 2010 00:00:00 GMT", 0, 0),
        ("-5", 0, 0),
        ("soon", 0, 0),
        ("nan", 0, 0),
        ("9" * 400, 0, LONGEST_RETRY_AFTER_S),
    ],
)
def test_retry_after_in_any_form(receiver: Receiver, header: str, least_s: float, most_s: float):
    receiver.decide = lambda request: answer(503, Retry_After=header)
    client = WebhookClient(WebhookConfig.model_validate({"url": receiver.url}), "here")
    reply = client.post({}, b"{}")
    client.close()
    assert not reply.is_final
    assert least_s <= reply.retry_after_s <= most_s


def test_the_worker_waits_at_least_as_long_as_it_is_asked_to():
    waits_s = [Backoff(lambda: 0.0).failed(40.0) for _ in range(20)]
    assert all(40.0 <= wait_s <= 44.0 for wait_s in waits_s)
    assert len(set(waits_s)) > 1, "with jitter"


def test_a_request_has_one_deadline_for_all_of_it(receiver: Receiver):
    receiver.decide = lambda request: drip
    client = WebhookClient(WebhookConfig.model_validate({"url": receiver.url, "timeout_s": 0.5}), "here")
    began_s = time.monotonic()
    reply = client.post({}, b"{}")
    assert reply.reason == "no answer within 0.5 s"
    assert time.monotonic() - began_s < DEADLINE_S / 2, "it drips for twice as long"
    receiver.decide = lambda request: answer(200)
    assert client.post({}, b"{}").is_delivered, "the next has a connection of its own"
    client.close()


def test_cookies_are_not_kept(receiver: Receiver):
    """A server that gives one of a new name each time would be sent them all, until it refuses so long a request."""
    receiver.decide = lambda request: answer(200, Set_Cookie="nonce=1; Path=/")
    client = WebhookClient(WebhookConfig.model_validate({"url": receiver.url}), "here")
    assert all(client.post({}, b"{}").is_delivered for _ in range(3))
    client.close()
    assert len(receiver.requests) == 3
    assert not any("cookie" in request.headers for request in receiver.requests)


def test_a_large_answer_changes_nothing(receiver: Receiver):
    def send_much(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**9))
        handler.end_headers()
        handler.wfile.write(b"x" * 200_000)
        handler.close_connection = True

    receiver.decide = lambda request: send_much
    client = WebhookClient(WebhookConfig.model_validate({"url": receiver.url}), "here")
    assert [client.post({}, b"{}").is_delivered for _ in range(2)] == [True, True]
    client.close()


def test_stopping_does_not_wait_for_a_server_that_hangs(engine: Engine, outbox: OutboxConfig, receiver: Receiver):
    receiver.decide = lambda request: hang
    engine.commit()
    with Hook(outbox, receiver.url, timeout_s=DEADLINE_S, max_attempts=1) as hook:
        wait_for(lambda: bool(receiver.requests))
        began_s = time.monotonic()
        hook.worker.stop()
        assert hook.worker.join(DEADLINE_S)
        assert time.monotonic() - began_s < DEADLINE_S / 2
        assert hook.dead() == [], "that the publishers stop is no fault of the event"


def test_other_sinks_do_not_wait(engine: Engine, outbox: OutboxConfig, receiver: Receiver, tmp_path: Path):
    receiver.decide = lambda request: hang
    file = Worker(JsonlFileSink(tmp_path / "events.jsonl"), outbox)
    engine.commit()
    with Hook(outbox, receiver.url, timeout_s=60):
        wait_for(lambda: bool(receiver.requests))
        file.start()
        engine.commit(n=500)
        wait_for(lambda: (tmp_path / "events.jsonl").read_bytes().count(b"\n") == 501)
        assert len(receiver.requests) == 1
        file.stop()
        assert file.join(DEADLINE_S)
        file.sink.close()
    assert seqs(tmp_path / "events.jsonl") == list(range(1, 502))


def test_the_publishers_open_what_is_configured(
    engine: Engine, outbox: OutboxConfig, receiver: Receiver, tmp_path: Path
):
    service = Service(outbox)
    hooks = {name: {"url": f"{receiver.url}/{name}"} for name in ("first", "second")}
    service.config = PublishersConfig.model_validate(
        {"zeromq": None, "http": None, "jsonl": JsonlConfig(path=tmp_path / "events.jsonl"), "webhooks": hooks}
    )
    whole = ServiceConfig(publishers=service.config, outbox=outbox)
    engine.commit(n=3)
    assert not sinks_are_drained(whole)
    service.start()
    try:
        wait_for(lambda: sinks_are_drained(whole))
    finally:
        service.stop()
    assert sorted(request.path[-6:] for request in receiver.taken) == ["/first"] * 3 + ["second"] * 3
