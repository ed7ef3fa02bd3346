"""Sinks come and go while publishers run; those that stay notice nothing."""

import threading

import pytest
from structlog.testing import capture_logs

from earmark.contracts.config import SmoothingOverride
from earmark.contracts.errors import ConfigError
from earmark.telemetry.metrics import REGISTRY
from publishers.clips.config import ClipsConfig
from publishers.config import JsonlConfig, PublishersConfig
from publishers.http.about import About
from publishers.service import Publishers
from tests.publishers.receiver import Receiver
from tests.support.waiting import DEADLINE_S, wait_for


class Running:
    """Publishers in a thread of their own, reloaded between two of their turns."""

    def __init__(self, config, outbox):
        self.outcome = None
        self._next = None
        self._stop, ready = threading.Event(), threading.Event()
        self._publishers = Publishers(config, outbox)
        self._thread = threading.Thread(target=lambda: self._publishers.run(self._stop, ready.set, self._turn))
        self._thread.start()
        assert ready.wait(DEADLINE_S)

    def _turn(self):
        if self._next is None:
            return
        try:
            self._publishers.reload(self._next, self._about)
        except ConfigError as error:
            self.outcome = error
        else:
            self.outcome = "done"
        self._next = None

    def reload(self, config, about=None):
        self.outcome, self._next, self._about = None, config, about or About()
        wait_for(lambda: self.outcome is not None, "the reload")
        return self.outcome

    def close(self):
        self._stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


def to_file(path):
    return PublishersConfig(zeromq=None, http=None, jsonl=JsonlConfig(path=path))


NO_SINK = PublishersConfig(zeromq=None, http=None)


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def start(outbox):
    made = []

    def start(publishers):
        made.append(Running(publishers, outbox))
        return made[-1]

    yield start
    for running in made:
        running.close()


def test_a_sink_that_goes_and_comes_back_goes_on_from_its_cursor(start, engine, tmp_path):
    path = tmp_path / "events.jsonl"
    running = start(to_file(path))
    engine.commit(n=3)
    wait_for(lambda: len(lines(path)) == 3, "three events")
    assert running.reload(NO_SINK) == "done"
    wait_for(lambda: REGISTRY.get_sample_value("earmark_sink_depth_events", {"sink": "jsonl"}) is None, "its end")
    engine.commit(n=4)
    assert running.reload(to_file(path)) == "done"
    wait_for(lambda: len(lines(path)) == 7, "the events of the time between")
    assert len(set(lines(path))) == 7


def test_a_changed_sink_begins_where_the_old_one_ended(start, engine, tmp_path):
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    running = start(to_file(old))
    engine.commit(n=3)
    wait_for(lambda: len(lines(old)) == 3, "three events")
    assert running.reload(to_file(new)) == "done"
    engine.commit(n=2)
    wait_for(lambda: len(lines(new)) == 2, "two more")
    assert len(lines(old)) == 3
    assert not set(lines(old)) & set(lines(new))


def test_a_sink_that_cannot_be_opened_changes_nothing(start, engine, tmp_path):
    path = tmp_path / "events.jsonl"
    running = start(to_file(path))
    assert isinstance(running.reload(to_file(tmp_path)), ConfigError)
    engine.commit(n=2)
    wait_for(lambda: len(lines(path)) == 2, "the old sink's events")


def test_clips_are_judged_by_the_thresholds_of_the_last_reload(start, tiny_bundle, tmp_path):
    clips = PublishersConfig(
        zeromq=None, http=None, clips=ClipsConfig(folder=tmp_path / "clips", forbid_labels=["low"])
    )

    def about(threshold, *allowed):
        overrides = {"gate": {"low": SmoothingOverride(onset_threshold=0.6, offset_threshold=threshold)}}
        spec = tiny_bundle.spec
        return About(("gate", "yard"), tiny_bundle.identity, spec, overrides=overrides, clips=allowed)

    running = start(clips)

    def judged_by():
        (sink,) = running._publishers._parts._channels["clips"].sinks
        return sink._cutter._about.smoothing("gate")["low"].offset_threshold

    for threshold, allowed in ((0.3, ("gate",)), (0.2, ("gate", "yard")), (0.05, ("gate", "yard"))):
        assert running.reload(clips, about(threshold, *allowed)) == "done"
        wait_for(lambda: "clips" in running._publishers._parts._channels, "the sink")
        assert judged_by() == threshold


def failures(sink):
    return REGISTRY.get_sample_value("earmark_sink_failures_total", {"sink": sink}) or 0.0


def test_a_sink_that_cannot_be_opened_at_the_start_holds_nothing_up_and_is_tried_again(start, engine, tmp_path):
    path, secret = tmp_path / "events.jsonl", tmp_path / "secret"
    path.write_text("somebody else's\n")
    (tmp_path / "clips").write_text("no folder")
    before = failures("jsonl")
    running = start(
        PublishersConfig.model_validate(
            {
                "zeromq": None,
                "http": None,
                "jsonl": {"path": path},
                "clips": {"folder": tmp_path / "clips", "forbid_labels": []},
                "mqtt": {"host": "127.0.0.1", "port": 1, "username": "u", "password_file": secret},
                "webhooks": {"ops": {"url": "http://127.0.0.1:1", "secret_file": secret}},
                "notifications": {"phone": {"urls_file": secret}},
            }
        )
    )
    assert path.read_text() == "somebody else's\n"
    wait_for(lambda: failures("jsonl") >= before + 2, "another attempt")
    assert set(running._publishers._parts._late) == {"jsonl", "clips", "mqtt", "webhooks.ops", "notifications.phone"}
    path.unlink()
    engine.commit(n=2)
    wait_for(lambda: len(lines(path)) == 2, "the events, once the file can be used")
    secret.write_text("whsec_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
    wait_for(lambda: "webhooks.ops" in running._publishers._parts._channels, "the webhook, once there is a secret")


def test_a_reload_ends_or_mends_a_sink_that_cannot_be_opened(start, engine, tmp_path):
    running = start(to_file(tmp_path))
    assert running.reload(NO_SINK) == "done"
    assert running._publishers._parts._late == {}
    assert isinstance(running.reload(to_file(tmp_path)), ConfigError)
    engine.commit(n=2)
    path = tmp_path / "events.jsonl"
    assert running.reload(to_file(path)) == "done"
    wait_for(lambda: len(lines(path)) == 2, "the events")


def with_hook(path, receiver, **hook):
    hooks = {"ops": {"url": receiver.url, **hook}}
    return PublishersConfig.model_validate({"zeromq": None, "http": None, "jsonl": {"path": path}, "webhooks": hooks})


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


def test_sinks_of_a_first_start_get_what_happened_before_them(engine, receiver, start, tmp_path):
    engine.commit(n=3)
    start(with_hook(tmp_path / "events.jsonl", receiver))
    wait_for(lambda: len(receiver.taken) == 3 and len(lines(tmp_path / "events.jsonl")) == 3, "all three, for both")


@pytest.mark.parametrize("joining", ["reload now", "reload oldest", "restart now", "restart oldest"])
def test_a_sink_that_joins_others_begins_where_it_says(engine, receiver, start, tmp_path, joining):
    (way, begin), path = joining.split(), tmp_path / "events.jsonl"
    running = start(to_file(path))
    engine.commit(n=3)
    wait_for(lambda: len(lines(path)) == 3, "three events")
    joined = with_hook(path, receiver, begin=begin)
    with capture_logs() as logs:
        if way == "reload":
            assert running.reload(joined) == "done"
        else:
            running.close()
            running = start(joined)
        wait_for(
            lambda: any(log["event"] == "sink begins" and log["sink"] == "webhook.ops" for log in logs), "it to begin"
        )
        engine.commit(n=2)
        wait_for(lambda: len(receiver.taken) == (2 if begin == "now" else 5), "its events")
    assert sum("from now on" in log["event"] for log in logs) == (begin == "now")
    assert len(lines(path)) == 5


def test_a_sink_that_took_nothing_yet_misses_nothing(engine, receiver, start, tmp_path):
    """Its server was away from the first start on; it is no new sink at the next one."""
    path = tmp_path / "events.jsonl"
    running = start(with_hook(path, receiver, url="http://127.0.0.1:1"))
    engine.commit(n=3)
    wait_for(lambda: len(lines(path)) == 3, "three events in the file")
    running.close()
    start(with_hook(path, receiver))
    wait_for(lambda: len(receiver.taken) == 3, "all three at the hook")
