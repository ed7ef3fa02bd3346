"""What is kept of an event beside its phases, by REST and on the page."""

import json
import wave
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import schemathesis
from playwright.sync_api import expect

from earmark.outbox import StreamCommit
from publishers.clips.config import ClipsConfig
from tests.publishers.http.browsing import Watched, browser
from tests.publishers.http.serving import http_config
from tests.publishers.room import RATE_HZ, Room


@pytest.fixture
def room(tmp_path, tiny_bundle):
    """Three events: ``low`` has its sound, ``top`` is forbidden, and one is of a stream without clips."""
    room = Room(tmp_path / "clips", tiny_bundle, forbid_labels=["top"])
    room.hear(3)
    room.hear(1.5, low=0.9)
    room.hear(8)
    room.hear(1, top=0.9)
    room.hear(3)
    room.events = {"low": room.tell(3, 4.5), "top": room.tell(12.5, 13.5, label="top")}
    room.at = 0
    room.hear(6, stream="yard", low=0.8)
    room.events["yard"] = room.tell(2, 3, stream="yard")
    yield room
    room.close()


@pytest.fixture
def service(room, engine, serve):
    for stream in ("gate", "yard"):
        ended = [event for event in room.events.values() if event.stream == stream]
        onsets = [event.model_copy(update={"phase": "onset", "offset_sample": None}) for event in ended]
        assert not engine._outbox.commit([StreamCommit(stream, 0, None, [*onsets, *ended])])
        engine._revisions[stream] = 1
    return serve(about=room.about, clips=ClipsConfig(folder=room.folder, forbid_labels=()))


@pytest.fixture
def client(service, connect):
    return connect(service)


def path_of(event, what):
    return f"/api/v1/events/{event.event_id}/{what}"


def test_an_events_scores_and_its_sound(room, client):
    event = room.events["low"]
    told = client.json(f"events/{event.event_id}")
    assert (told["has_scores"], told["has_clip"]) == (True, True)
    scores = client.json(f"events/{event.event_id}/scores")
    assert scores == json.loads(room.files.path(event, "json").read_text())
    assert scores["labels"][0] == "low"
    assert max(scores["scores"][0]) == 0.9
    answer = client.get(path_of(event, "clip"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    assert (answer.headers["accept-ranges"], answer.headers["cache-control"]) == ("bytes", "no-store")
    with wave.open(BytesIO(answer.content)) as sound:
        pcm = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    np.testing.assert_array_equal(pcm, room.pcm[2 * RATE_HZ : round(5.5 * RATE_HZ)])
    part = client.get(path_of(event, "clip"), headers={"Range": "bytes=44-47"})
    assert (part.status_code, part.content) == (206, answer.content[44:48])
    assert part.headers["content-range"] == f"bytes 44-47/{len(answer.content)}"
    beyond = client.get(path_of(event, "clip"), headers={"Range": f"bytes={10**9}-"})
    assert beyond.status_code == 416


def test_what_there_is_not_says_why(room, client, service, serve, connect):
    def why(of, path):
        answer = of.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        return answer.json()["detail"]

    assert "a label of publishers.clips.forbid_labels" in why(client, path_of(room.events["top"], "clip"))
    assert "streams.NAME.clips: true would" in why(client, path_of(room.events["yard"], "clip"))
    room.files.path(room.events["low"], "wav").unlink()
    assert "it was deleted" in why(client, path_of(room.events["low"], "clip"))
    room.files.path(room.events["low"], "json").unlink()
    for what in ("clip", "scores"):
        assert "not yet, no longer" in why(client, path_of(room.events["low"], what))
        assert "the outbox keeps" in why(client, f"/api/v1/events/{'0' * 32}/{what}")
    service.stop()
    without = connect(serve(about=room.about))
    for what in ("clip", "scores"):
        assert "publishers.clips would" in why(without, path_of(room.events["low"], what))


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "%2e%2e", "A" * 32, "0" * 32 + "%00", "0" * 31])
@pytest.mark.parametrize("what", ["clip", "scores"])
def test_a_path_leads_nowhere_else(client, name, what):
    answer = client.get(f"/api/v1/events/{name}/{what}")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_nobody_hears_without_the_token(room, service, serve, connect):
    service.stop()
    token = "a token of 24 characters"  # noqa: S105 -- opens nothing
    closed = connect(serve(http_config(token=token), room.about, ClipsConfig(folder=room.folder, forbid_labels=())))
    path = path_of(room.events["low"], "clip")
    assert closed.get(path).status_code == 401
    assert closed.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_the_answers_are_as_the_document_says(room, service):
    base = f"http://{service.config.http.bind}"
    loaded = schemathesis.openapi.from_url(f"{base}/openapi.json")
    for event in room.events.values():
        for what in ("", "/clip", "/scores"):
            values = {"event_id": event.event_id}
            case = loaded[f"/api/v1/events/{{event_id}}{what}"]["GET"].Case(path_parameters=values)
            case.validate_response(case.call())


def test_the_page_plays_the_clip_and_draws_the_scores_that_are_kept(room, service):
    """Nothing of it is in the page's memory."""
    event = room.events["low"]
    url = f"http://{service.config.http.bind}/"
    with browser() as chrome:
        watched = Watched(chrome.new_page(), f"{url}#event={event.event_id}")
        page = watched.page
        expect(page.locator("#event-clip")).to_be_visible(timeout=20_000)
        expect(page.locator("#event-clip-note")).to_have_text("3.5 s of its sound.")
        expect(page.locator("#event-scores")).to_be_visible()
        expect(page.locator("#event-note")).to_contain_text("Pale: the loudest other classes")
        page.wait_for_function("() => document.getElementById('event-clip').duration === 3.5")
        page.evaluate("document.getElementById('event-clip').muted = true")
        page.evaluate("document.getElementById('event-clip').play()")
        page.wait_for_function("() => document.getElementById('event-clip').currentTime > 0.2")
        page.keyboard.press("Escape")
        page.evaluate(f"location.hash = 'event={room.events['top'].event_id}'")
        expect(page.locator("#event-clip-note")).to_contain_text("must not be kept may be heard", timeout=20_000)
        expect(page.locator("#event-clip")).to_be_hidden()
        expect(page.locator("#event-scores")).to_be_visible()
        assert watched.complaints == []
        assert all(asked.startswith(url) for asked in watched.asked)


def test_the_page_finds_what_is_kept_after_the_event_was_opened(room, service, engine):
    event = room.events["low"]
    hidden = {suffix: room.files.path(event, suffix) for suffix in ("wav", "json")}
    for path in hidden.values():
        path.rename(f"{path}.away")
    now = datetime.now(UTC)
    engine._outbox._connection.execute(
        "UPDATE events SET body = json_set(body, '$.offset_time', ?) WHERE event_id = ? AND phase = 'offset'",
        (now.isoformat().replace("+00:00", "Z"), event.event_id),
    )
    with browser() as chrome:
        watched = Watched(chrome.new_page(), f"http://{service.config.http.bind}/#event={event.event_id}")
        expect(watched.page.locator("dialog")).to_contain_text(event.event_id, timeout=20_000)
        expect(watched.page.locator("#event-clip")).to_be_hidden()
        for path in hidden.values():
            Path(f"{path}.away").rename(path)
        expect(watched.page.locator("#event-clip")).to_be_visible(timeout=20_000)
        assert watched.complaints == []
