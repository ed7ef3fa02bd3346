"""A scene through the whole service, and on the page."""

import subprocess
import threading
import time

import httpx
import pytest
import yaml
from playwright.sync_api import expect

from earmark.app.child import earmark_command
from earmark.synthesis.scene import demo_scene, write_wav
from publishers.http.config import HttpConfig
from tests.publishers.http.browsing import Watched, browser
from tests.publishers.http.serving import Client, free_bind
from tests.support.waiting import DEADLINE_S
from tests.system.processes import Machine

pytestmark = pytest.mark.slow


@pytest.fixture
def service(tmp_path):
    """``earmark run`` over a scene at its own pace; the HTTP section."""
    write_wav(tmp_path / "scene.wav", demo_scene())
    machine = Machine(tmp_path, {"gate": {"source": "file", "path": str(tmp_path / "scene.wav"), "pace": "realtime"}})
    http = HttpConfig(bind=free_bind())
    document = yaml.safe_load(machine.config.read_text())
    document["publishers"]["http"] = {"bind": http.bind}
    machine.config.write_text(yaml.safe_dump(document))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(earmark_command("run", str(machine.config)), stderr=log)
    try:
        yield http
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        machine.close()


def wait_until_ready(client):
    give_up_s = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while True:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.ConnectError as error:
            assert time.monotonic() < give_up_s, error
        pause.wait(0.05)


def test_a_sound_is_on_the_page(service):
    client = Client(service)
    with browser() as chrome:
        wait_until_ready(client)
        watched = Watched(chrome.new_page(), service.url)
        page = watched.page
        page.wait_for_selector("article[data-stream=gate]")
        with client.follow() as messages:
            (onset,) = _first(messages, "onset")
            expect(page.locator(f'tr[data-event="{onset["event_id"]}"]')).to_be_visible()
            expect(page.locator("article .open")).to_contain_text("since")
            (offset,) = _first(messages, "offset")
            expect(page.locator(f'tr[data-event="{offset["event_id"]}"]')).not_to_contain_text("…")
        expect(page.locator("#health")).to_have_class("good")
        expect(page.locator("article .badge")).to_have_text("Listening")
        expect(page.locator("article .lane").first).to_be_visible()
        page.locator(f'tr[data-event="{offset["event_id"]}"] button').click()
        expect(page.locator("#event-scores")).to_be_visible()
        assert client.json("streams/gate")["up"]
        assert client.json("config")["config"]["publishers"]["http"]["bind"] == service.bind
        assert watched.complaints == []
    client.close()


def _first(messages, phase):
    while True:
        events = messages.take(1)
        if events[0]["phase"] == phase:
            return events
