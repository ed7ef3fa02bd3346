"""The page, in a real browser, over real publishers."""

import re
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from earmark.contracts.monitor import StreamStatus
from earmark.outbox import StreamCommit
from engine.groups import GroupConfig, with_groups
from publishers.http.about import About
from tests.publishers.http.browsing import Watched, browser, serious
from tests.publishers.http.serving import http_config
from tests.publishers.http.test_live import frames_of, refused_of, shown  # noqa: F401 -- a fixture
from tests.support.events import make_event
from tests.support.waiting import wait_for

SIZES = {"phone": (320, 640), "desktop": (1280, 800)}


@pytest.fixture(scope="module")
def chrome():
    with browser() as opened:
        yield opened


@pytest.fixture
def visit(chrome, serve, tiny_bundle):
    """Opens the page of new publishers; nothing on it may complain, and it asks nobody else."""
    visited = []

    def visit(streams=("gate", "yard"), config=None, bundle=tiny_bundle, spectrograms=None, **options):
        about = About(tuple(streams), bundle.identity, bundle.spec, spectrograms=spectrograms or {})
        visit.service = service = serve(config, about=about)
        context = chrome.new_context(**options)
        url = f"http://{service.config.http.bind}/"
        watched = Watched(context.new_page(), url)
        visited.append((context, watched, url))
        watched.page.wait_for_selector("article.card")
        return watched.page

    yield visit
    for context, watched, url in visited:
        context.close()
        assert watched.complaints == []
        assert all(asked.startswith(url) for asked in watched.asked)


def put(engine, number, label, peak=0.9, stream="gate"):
    event = make_event(number, stream, label).model_copy(update={"score_peak": peak})
    end = event.model_copy(update={"phase": "offset", "offset_sample": number + 8000, "offset_time": event.onset_time})
    revision = engine._revisions.get(stream, 0)
    assert not engine._outbox.commit([StreamCommit(stream, revision, None, [event, end])])
    engine._revisions[stream] = revision + 1
    engine._waker.wake()
    return event.event_id


def row(page, event_id):
    return page.locator(f'tr[data-event="{event_id}"]')


def test_a_picture_that_is_not_full_says_so(visit, shown):  # noqa: F811
    page = visit(("gate", "hall", "yard"), spectrograms={"hall": "none", "yard": "coarse"})
    shown.wait_until_asked("gate", "hall", "yard")
    for stream in ("gate", "hall", "yard"):
        frames = frames_of(stream, first_ns=1_700_000_000_000_000_000, n=26)
        shown.sender.send_frames(replace(frames, first_sample=26 * 640))
    notes = {stream: page.locator(f'[data-stream="{stream}"] .detail') for stream in ("gate", "hall", "yard")}
    expect(notes["yard"]).to_contain_text("speech cannot be rebuilt")
    expect(notes["hall"]).to_contain_text("no spectrogram")
    expect(notes["gate"]).to_be_hidden()


def test_events_of_the_day_and_new_ones_are_shown(engine, visit, tiny_bundle):
    label = tiny_bundle.spec.labels[0]
    early = put(engine, 1, label)
    page = visit()
    expect(row(page, early)).to_be_visible()
    page.wait_for_selector("#health.bad")
    fresh = put(engine, 2, label, stream="yard")
    expect(row(page, fresh)).to_contain_text("yard")
    expect(page.locator("#day-note")).to_contain_text("2 events")
    page.select_option("#stream", "yard")
    expect(row(page, early)).to_have_count(0)
    expect(row(page, fresh)).to_be_visible()


def test_a_browser_is_asked_for_the_password_once(engine, visit):
    config = http_config(user="ann", password="correct horse")  # noqa: S106 -- opens nothing
    page = visit(config=config, http_credentials={"username": "ann", "password": "correct horse"})
    expect(page.locator("#health")).to_contain_text("listening")
    engine.commit()
    expect(page.locator("#rows tr")).to_have_count(1)


def test_an_onset_is_open_until_its_offset(engine, visit):
    page = visit()
    page.wait_for_function("() => document.getElementById('no-rows').hidden === false")
    engine.commit(("gate", "dog"))
    expect(page.locator("article[data-stream=gate] .open")).to_contain_text("dog since")
    event_id = page.locator("#rows tr").get_attribute("data-event")
    onset = make_event(1, "gate", "dog")
    assert onset.event_id == event_id
    end = onset.model_copy(update={"phase": "offset", "offset_sample": 9000, "offset_time": onset.onset_time})
    assert not engine._outbox.commit([StreamCommit("gate", engine._revisions["gate"], None, [end])])
    engine._waker.wake()
    expect(page.locator("article[data-stream=gate] .open")).to_contain_text("Nothing going on")
    expect(row(page, event_id)).not_to_contain_text("…")


def test_what_sounds_now_is_told_whatever_day_is_looked_at(engine, visit):
    page = visit()
    page.fill("#day", "2026-01-02")
    expect(page.locator("#day-note")).to_contain_text("0 events")
    engine.commit(("gate", "dog"))
    expect(page.locator("article[data-stream=gate] .open")).to_contain_text("dog since")
    expect(page.locator("#rows tr")).to_have_count(0)
    page.fill("#day", page.evaluate("new Date().toLocaleDateString('sv')"))
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("article[data-stream=gate] .open")).to_contain_text("dog since")


def test_a_stream_that_a_reload_took_away_goes_and_one_that_is_down_stays(visit, shown, tiny_bundle):  # noqa: F811
    page = visit(streams=("gate", "hall", "yard"))
    views = [StreamStatus(stream=name, up=True, coverage=1.0, level_db=-30.0, lag_s=0.0) for name in ("gate", "yard")]
    shown.sender.send_statuses(views)
    badge = "article[data-stream=yard] .badge"
    expect(page.locator(badge)).to_have_text("Listening")
    service = visit.service
    service.publishers.reload(service.config, About(("gate", "hall"), tiny_bundle.identity, tiny_bundle.spec))
    expect(page.locator(badge)).to_have_count(0)
    expect(page.locator("article[data-stream=gate] .badge")).to_have_text("No audio")
    expect(page.locator("article[data-stream=hall] .badge")).to_have_text("Not heard yet")
    expect(page.locator("#health")).to_contain_text("0 of 2 streams")


def test_days_of_23_and_25_hours_and_lengths(visit):
    told = visit(timezone_id="Europe/Berlin").evaluate("""async () => {
        const from = (name) => import(new URL(name, document.querySelector('script[type=module]').src));
        const { dayEnd, midnight } = await from('timeline.js');
        const { lengthOf } = await from('dom.js');
        const hours = ['2026-03-29', '2026-10-25', '2026-11-21'].map((day) => (dayEnd(day) - midnight(day)) / 36e5);
        return hours.concat([59_940, 59_960, 119_600, 3_600_000].map(lengthOf));
    }""")
    assert told == [23, 25, 24, "59.9 s", "1 min 0 s", "2 min 0 s", "60 min 0 s"]


def test_frames_are_sent_only_while_somebody_looks(visit, shown):  # noqa: F811
    page = visit(streams=("gate",))
    shown.wait_until_asked("gate")
    now_ns = page.evaluate("Date.now()") * 1_000_000
    page.wait_for_function("() => document.querySelector('#health').textContent.includes('listening')")
    for n in range(5):
        shown.sender.send_frames(frames_of("gate", first_ns=now_ns + n * 120_000_000))
    expect(page.locator("article .lane").first).to_be_visible()
    drawn = """() => {
        const canvas = document.querySelector('canvas.picture');
        if (canvas.width <= 300) return false;
        const line = canvas.getContext('2d').getImageData(0, canvas.height / 2, canvas.width, 1);
        return line.data.some((value, i) => i % 4 === 3 && value > 0);
    }"""
    page.wait_for_function(drawn)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    shown.wait_until_asked()
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    shown.wait_until_asked("gate")
    page.close()
    shown.wait_until_asked()


def test_what_the_judge_refuses_is_shown_in_grey(visit, shown):  # noqa: F811
    page = visit(streams=("gate",))
    shown.wait_until_asked("gate")
    now_ns = page.evaluate("Date.now()") * 1_000_000
    shown.sender.send_frames(frames_of("gate", first_ns=now_ns - 100_000_000))
    expect(page.locator("article .lane").first).to_be_visible()
    shown.sender.send_refused(refused_of("gate", now_ns - 6_000_000_000, "glass_breaking"))
    shown.sender.send_refused(refused_of("gate", now_ns - 4_000_000_000, "dog"))
    text = page.locator("article .refused")
    expect(text).to_have_text(re.compile(r"Not confirmed: glass breaking at .* \(0\.12\), dog at .* \(0\.12\)"))
    is_grey = """() => {
        const canvas = document.querySelector('canvas.picture');
        const grey = getComputedStyle(document.documentElement).getPropertyValue('--idle').trim();
        const wanted = [1, 3, 5].map((at) => parseInt(grey.slice(at, at + 2), 16));
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        for (let i = 0; i < data.length; i += 4) if (wanted.every((value, k) => data[i + k] === value)) return true;
        return false;
    }"""
    page.wait_for_function(is_grey)
    shown.sender.send_frames(frames_of("gate", first_ns=now_ns + 60_000_000_000))
    expect(text).to_have_text("")


def test_scores_are_drawn_where_their_sound_is(visit):
    """A model that answers later is heard later, and not drawn later."""
    told = visit().evaluate("""async () => {
        const { Trace } = await import(new URL('store.js', document.querySelector('script[type=module]').src));
        const scores = { rows: 8, columns: 1, values: Uint8Array.of(0, 0, 0, 0, 255, 0, 0, 51) };
        const features = { rows: 16, columns: 1, values: new Uint8Array(16) };
        const frames = { hop_s: 0.04, first_s: 4, score_delay: 4, level_db: [-30], features, scores };
        const trace = new Trace(frames);
        trace.push(frames);
        return [100, 101, 103, 104].map((row) => trace.score(row, 0)).concat(trace.newest(0), trace.peaks(100, 101)[0]);
    }""")
    assert told == [1, 0, 0.2, None, 0.2, 1]


def test_an_event_that_is_named_while_another_closes_is_shown(engine, visit, tiny_bundle):
    first, second = (put(engine, number, label) for number, label in enumerate(tiny_bundle.spec.labels[:2], 1))
    page = visit()
    page.evaluate(f"location.hash = 'event={first}'")
    expect(page.locator("#event-numbers")).to_contain_text(first)
    page.evaluate(f"""() => {{
        const dialog = document.getElementById('event');
        dialog.close();
        location.hash = 'event={second}';
        dialog.dispatchEvent(new Event('close'));
    }}""")
    expect(page.locator("#event-numbers")).to_contain_text(second)
    expect(page.locator("#event")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#event")).to_be_hidden()
    page.wait_for_function("() => location.hash === ''")


def test_with_many_streams_only_the_chosen_are_live(visit, shown):  # noqa: F811
    page = visit(streams=[f"room-{n:03d}" for n in range(300)])
    expect(page.locator("article.card:visible")).to_have_count(6)
    page.fill("#find", "room-25")
    expect(page.locator(".chip:visible")).to_have_count(10)
    for n in range(6):
        page.evaluate(f"[...document.querySelectorAll('.chip')].find(c => c.textContent === 'room-00{n}').click()")
    page.click("text=room-255")
    expect(page.locator("article.card:visible")).to_have_count(1)
    wait_for(lambda: "room-255" in shown.sender.asked()[1])
    assert len(shown.sender.asked()[1]) <= 8
    page.close()
    shown.wait_until_asked()


def test_what_if_tells_which_events_would_remain(engine, visit, tiny_bundle):
    label = tiny_bundle.spec.labels[0]
    ids = [put(engine, n + 1, label, peak) for n, peak in enumerate((0.6, 0.7, 0.8, 0.95))]
    page = visit()
    expect(page.locator("#whatif-text")).to_contain_text("4 of 4 events")
    slider = page.locator("#threshold")
    slider.focus()
    for _ in range(200):
        if "3 of 4" in page.inner_text("#whatif-text"):
            break
        page.keyboard.press("ArrowRight")
    expect(page.locator("#whatif-text")).to_contain_text("3 of 4 events of this day would remain. 1 would go.")
    expect(row(page, ids[0])).to_have_class("gone")
    expect(row(page, ids[1])).not_to_have_class("gone")
    assert "3 of 4 remain" in slider.get_attribute("aria-valuetext")
    box = page.locator("#whatif").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 15, box["y"] + 40, steps=4)
    page.mouse.up()
    expect(page.locator("#whatif-text")).to_contain_text("0 of 4")
    page.click("#whatif-reset")
    expect(page.locator("#whatif-text")).to_contain_text("4 of 4")


def test_a_group_is_filtered_and_tried_like_a_label_but_has_no_lane(engine, visit, shown, tiny_bundle):  # noqa: F811
    bundle = with_groups(tiny_bundle, {"ends": GroupConfig(labels=("low", "top"), onset_threshold=0.62)})
    ids = [put(engine, 1, "low"), put(engine, 2, "ends", 0.7), put(engine, 3, "ends", 0.95)]
    page = visit(streams=("gate",), bundle=bundle)
    expect(row(page, ids[2])).to_be_visible()
    page.select_option("#label", "ends")
    expect(page.locator("#rows tr")).to_have_count(2)
    page.select_option("#whatif-label", "ends")
    expect(page.locator("#whatif-text")).to_contain_text("ends at 0.62, 2 of 2 events")
    shown.wait_until_asked("gate")
    scores = np.float32([[0.1, 0.2, 0.3, 0.9]] * 3)
    shown.sender.send_frames(replace(frames_of("gate", page.evaluate("Date.now()") * 1_000_000), scores=scores))
    lanes = [re.compile(f"^{label}") for label in ("top", "high", "mid", "low")]
    expect(page.locator("article .lane")).to_have_text(lanes)
    row(page, ids[1]).locator("button").click()
    expect(page.locator("#event-numbers")).to_contain_text("0.62")
    expect(page.locator("#event-note")).to_contain_text("A group of sounds has no scores of its own")


def test_an_event_has_a_page_of_its_own_by_keyboard_too(engine, visit, tiny_bundle):
    event_id = put(engine, 1, tiny_bundle.spec.labels[0])
    page = visit()
    button = row(page, event_id).locator("button")
    expect(button).to_be_visible()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.event || ''"))
    assert reached >= {"day", "span", "stream", "label", event_id, "whatif-label", "whatif-reset", "threshold"}
    button.focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_contain_text(event_id)
    assert page.url.endswith(f"#event={event_id}")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    page.goto(page.url.partition("#")[0] + f"#event={event_id}")
    expect(page.locator("dialog")).to_contain_text("0.900")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_and_everybody_can_use_it(engine, visit, tiny_bundle, size, scheme):
    width, height = SIZES[size]
    for n, label in enumerate(tiny_bundle.spec.labels):
        put(engine, n + 1, label)
    page = visit(viewport={"width": width, "height": height}, color_scheme=scheme, streams=[f"s-{n}" for n in range(8)])
    expect(page.locator("#rows tr")).to_have_count(len(tiny_bundle.spec.labels))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    light = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(c => c > 128)")
    assert light is (scheme == "light")
    assert serious(page) == []
    page.locator("#rows button").first.click()
    expect(page.locator("dialog")).to_be_visible()
    assert serious(page) == []
