"""REST over a real outbox, through a real server."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from earmark.contracts.config import SmoothingOverride
from earmark.outbox import EventQuery, OutboxReader
from engine.groups import GroupConfig, with_groups
from publishers.http.about import About
from publishers.http.reading import SPAN, read_page
from tests.publishers.publishing import Engine


@pytest.fixture
def client(engine, serve, connect):
    engine.commit(("gate", "dog"), ("yard", "siren"), n=5)
    return connect(serve())


def test_pages_hold_every_event_once_in_either_order(client):
    everything = [event["seq"] for event in client.all_events(limit=3)]
    assert everything == list(range(1, 11))
    assert [event["seq"] for event in client.all_events(limit=3, order="newest")] == everything[::-1]
    assert [event["seq"] for event in client.all_events(limit=1000)] == everything


def test_filters_take_what_fits(client):
    def found(**parameters):
        return [event["seq"] for event in client.all_events(limit=2, **parameters)]

    assert found(stream="gate") == [1, 3, 5, 7, 9]
    assert found(stream=["gate", "yard"], label="siren") == [2, 4, 6, 8, 10]
    assert found(since=7) == [8, 9, 10]
    assert found(since=7, order="newest") == [10, 9, 8]
    assert found(phase="offset") == []
    assert found(phase="onset", since=9) == [10]
    assert found(min_score=0.91) == []
    assert len(found(min_score=0.9)) == 10
    times = [datetime.fromisoformat(event["onset_time"]) for event in client.all_events()]
    assert found(**{"from": times[4].isoformat()}) == [5, 6, 7, 8, 9, 10]
    assert found(to=times[4].isoformat()) == [1, 2, 3, 4]
    assert found(**{"from": (times[-1] + timedelta(seconds=1)).isoformat()}) == []


def test_a_whole_second_sorts_before_its_fractions(engine, outbox):
    engine.commit()
    reader = OutboxReader(outbox.path)
    (event,) = reader.read(0, 10)
    second = event.event.onset_time.replace(microsecond=0)
    at_once = event.event.model_copy(update={"onset_time": second}).model_dump_json(exclude={"seq"})
    engine._outbox._connection.execute("UPDATE events SET body = ?", (at_once,))
    for query, n in (
        (EventQuery(from_time=second), 1),
        (EventQuery(from_time=second + timedelta(microseconds=1)), 0),
        (EventQuery(to_time=second), 0),
        (EventQuery(to_time=second + timedelta(microseconds=1)), 1),
    ):
        assert len(reader.search(query, 10, after=0, through=1)) == n
    reader.close()


def test_a_page_looks_at_so_many_events_and_goes_on(engine, outbox, monkeypatch):
    monkeypatch.setattr("publishers.http.reading.SPAN", 4)
    engine.commit(("gate", "dog"), n=9)
    engine.commit(("yard", "siren"))
    reader = OutboxReader(outbox.path)
    for newest_first in (False, True):
        found, cursor, n_pages = [], None, 0
        while True:
            page = read_page(reader, EventQuery(labels=["siren"]), 5, since=0, cursor=cursor, newest_first=newest_first)
            cursor = _field(page, "cursor")
            found += [event["seq"] for event in _field(page, "events")]
            n_pages += 1
            if cursor is None:
                break
        assert (found, n_pages) == ([10], 3)
    reader.close()
    assert SPAN > 1000


def _field(page, name):
    return json.loads(page)[name]


def test_retention_leaves_no_hole_in_pages(engine, serve, connect):
    engine.commit(n=3)
    engine.forget()
    engine.commit(n=2)
    client = connect(serve())
    page = client.json("events")
    assert [event["seq"] for event in page["events"]] == [4, 5]
    assert (page["newest"], page["oldest"], page["cursor"]) == (5, 4, None)


def test_one_event_has_both_phases(engine, client, outbox):
    onset = client.all_events()[0]
    answer = client.json(f"events/{onset['event_id']}")
    nothing = {"has_scores": False, "has_clip": False}
    assert answer == {"event_id": onset["event_id"], "onset": onset, "offset": None, **nothing}
    body = dict(onset, phase="offset", offset_sample=9)
    reader = OutboxReader(outbox.path)
    event = reader.read(0, 1)[0].event.model_copy(update={"phase": "offset", "offset_sample": body["offset_sample"]})
    reader.close()
    engine._outbox._connection.execute(
        "INSERT INTO events (event_id, phase, stream, label, created_ns, body) "
        "VALUES (?, 'offset', 'gate', 'dog', 0, ?)",
        (event.event_id, event.model_dump_json(exclude={"seq"})),
    )
    answer = client.json(f"events/{onset['event_id']}")
    assert answer["onset"] == onset
    assert (answer["offset"]["phase"], answer["offset"]["offset_sample"]) == ("offset", 9)
    missing = client.get("/api/v1/events/" + "0" * 32)
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("path", "place", "expected"),
    [
        ("events?since=-1", "query.since", "a whole number"),
        ("events?limit=1001", "query.limit", "less than or equal to 1000"),
        ("events?order=up", "query.order", "'oldest' or 'newest'"),
        ("events?from=0001-01-01T00:00:00%2B01:00", "query.from", "years 1 to 9999"),
        ("events?to=9999-12-31T23:59:59-01:00", "query.to", "years 1 to 9999"),
        ("events?from=yesterday", "query.from", "like 2026-11-21T13:00:00Z"),
        ("events?from=2026-11-21T13:00:00", "query.from", "with its zone"),
        ("events?phase=middle", "query.phase.0", "'onset' or 'offset'"),
        ("events?min_score=nan", "query.min_score", "less than or equal to 1"),
        ("events?streams=gate", "query.streams", "no parameter of this name"),
        ("events?stream=Gate", "query.stream.0", "match pattern"),
        ("streams/GATE", "path.stream", "match pattern"),
        ("events/xyz", "path.event_id", "match pattern"),
        ("events/stream?since=x", "query.since", "a whole number"),
        ("live?stream=a&stream=-&stream=A", "query.stream.2", "match pattern"),
    ],
)
def test_a_wrong_parameter_is_told_with_what_would_be_right(client, path, place, expected):
    answer = client.get(f"/api/v1/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert problem["status"] == 422
    (complaint,) = problem["errors"]
    assert complaint["where"] == place
    assert expected in complaint["expected"]
    assert place in problem["detail"]


def test_other_paths_and_methods_are_refused_in_words(client):
    for path, method, status in (("/api/v2", "GET", 404), ("/api/v1/events", "POST", 405)):
        answer = client._http.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.headers["allow"] == "GET"


def test_what_the_service_is(engine, serve, connect, tiny_bundle):
    spec = tiny_bundle.spec
    label = spec.labels[0]
    about = About(
        ("gate", "yard"),
        tiny_bundle.identity,
        spec,
        {"yard": {label: SmoothingOverride(onset_threshold=0.77)}},
        {"engine": {"bundle": "tiny"}},
    )
    client = connect(serve(about=about))
    labels = client.json("labels")
    assert [each["label"] for each in labels["labels"]] == list(spec.labels)
    assert labels["labels"][0]["onset_threshold"] == spec.smoothing_of(label).onset_threshold
    assert labels["model"] == tiny_bundle.identity
    assert labels["overrides"]["yard"][label]["onset_threshold"] == 0.77
    assert [each["stream"] for each in client.json("streams")["streams"]] == ["gate", "yard"]
    engine.commit(("yard", "siren"))
    yard = client.json("streams/yard")
    assert (yard["up"], yard["coverage"], yard["last_event"]["seq"]) == (False, None, 1)
    assert yard["overrides"][label]["onset_threshold"] == 0.77
    assert client.json("config") == {"config": {"engine": {"bundle": "tiny"}}}
    assert client.get("/api/v1/streams/attic").status_code == 404


def test_a_zone_has_events_as_a_stream_has(outbox, serve, connect):
    zones = {"yard": ("gate", "barn")}
    engine = Engine(outbox, zones)
    engine.commit(("gate", "dog"), ("barn", "dog"), ("cellar", "dog"))
    client = connect(serve(about=About(("gate", "barn", "cellar"), zones=zones)))
    assert client.json("streams")["zones"] == {"yard": ["gate", "barn"]}
    assert [event["stream"] for event in client.all_events()] == ["gate", "yard", "barn", "cellar"]
    (fused,) = client.all_events(stream="yard")
    assert fused["heard_by"] == ["gate"]
    assert {event["heard_by"] for event in client.all_events(stream=["gate", "cellar"])} == {None}
    found = client.json(f"events/{fused['event_id']}")
    assert (found["event_id"], found["onset"], found["offset"]) == (fused["event_id"], fused, None)
    with client.follow(0, stream="yard") as messages:
        assert messages.take(1) == [fused]
    engine.close()


def test_times_are_skipped_to(engine, outbox, monkeypatch):
    """What began at other times costs no page, however much of it there is."""
    monkeypatch.setattr("publishers.http.reading.SPAN", 10)
    engine.commit_many(500)
    reader = OutboxReader(outbox.path)
    hour, day = timedelta(hours=1), datetime(2026, 1, 1, tzinfo=UTC)
    for event in (stored.event for stored in reader.read(0, 1000)):
        began = event.model_copy(update={"onset_time": day + hour * (event.seq % 499)})
        body = began.model_dump_json(exclude={"seq"})
        engine._outbox._connection.execute("UPDATE events SET body = ? WHERE seq = ?", (body, event.seq))

    def pages(query, *, newest_first, limit=7):
        cursor = None
        while True:
            page = read_page(reader, query, limit, since=0, cursor=cursor, newest_first=newest_first)
            yield [event["seq"] for event in _field(page, "events")]
            if (cursor := _field(page, "cursor")) is None:
                return

    late = EventQuery(from_time=day + 300 * hour, to_time=day + 305 * hour)
    assert list(pages(late, newest_first=False)) == [[300, 301, 302, 303, 304]]
    assert list(pages(late, newest_first=True)) == [[304, 303, 302, 301, 300]]
    apart = EventQuery(to_time=day + 2 * hour)
    assert list(pages(apart, newest_first=False)) == [[1], [499, 500]]
    assert list(pages(apart, newest_first=True)) == [[500, 499], [1]]
    assert list(pages(EventQuery(from_time=day + 1000 * hour), newest_first=False)) == [[]]
    for newest_first in (False, True):
        found = [seq for page in pages(EventQuery(from_time=day), newest_first=newest_first) for seq in page]
        assert found == sorted(range(1, 501), reverse=newest_first)
    reader.close()


def test_groups_that_have_events(engine, serve, connect, tiny_bundle):
    """They stand apart from the labels, whose order is that of the scores in frames."""
    spec = with_groups(tiny_bundle, {"ends": GroupConfig(labels=("low", "top"), onset_threshold=0.6)}).spec
    overrides = {"yard": {"ends": SmoothingOverride(onset_threshold=0.77)}}
    client = connect(serve(about=About(("yard",), "tiny@1+0", spec, overrides, {})))
    answer = client.json("labels")
    assert [each["label"] for each in answer["labels"]] == list(tiny_bundle.spec.labels)
    (group,) = answer["decided_groups"]
    assert (group["label"], group["labels"], group["onset_threshold"]) == ("ends", ["low", "top"], 0.6)
    assert answer["labels"][0]["groups"] == ["ends"]
    assert answer["overrides"]["yard"]["ends"]["onset_threshold"] == 0.77
    assert client.json("streams/yard")["overrides"]["ends"]["onset_threshold"] == 0.77
    engine.commit(("yard", "low"), ("yard", "ends"))
    assert [event["seq"] for event in client.all_events(label="ends")] == [2]
    assert client.json("streams/yard")["last_event"]["label"] == "ends"
    engine.spoil(2)
    assert client.json("streams/yard")["last_event"] is None


def test_an_event_of_another_release_is_told_as_it_lies_there(engine, client):
    engine.spoil(10)
    (event,) = client.all_events(since=9)
    assert event["colour"] == "red"
    assert client.json(f"events/{event['event_id']}")["onset"] == event


def test_probes_and_metrics(client):
    for path in ("/healthz", "/readyz"):
        assert client.get(path).json() == {"healthy": True, "ready": True}
    metrics = client.get("/metrics").text
    assert 'earmark_http_requests_total{status="200"}' in metrics


def test_not_ready_while_the_outbox_cannot_be_read(engine, client, outbox):
    engine.close()
    engine._outbox = type("Closed", (), {"close": lambda self: None})()
    outbox.path.rename(outbox.path.with_suffix(".away"))
    for path in outbox.path.parent.glob(outbox.path.name + "-*"):
        path.unlink()
    outbox.path.write_bytes(b"no database at all, and long enough to be looked at" * 100)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"healthy": True, "ready": False})
    answer = client.get("/api/v1/events")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["retry-after"]) > 0
