"""Events and states at a real broker."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from earmark.contracts.cloudevents import STRUCTURED
from earmark.outbox.config import OutboxConfig
from publishers.config import PublishersConfig
from publishers.http.about import About
from publishers.mqtt.connection import WINDOW
from tests.publishers.mqtt.broker import Broker, Watcher, require
from tests.publishers.mqtt.conftest import Start
from tests.publishers.mqtt.sounds import Sounds, shown, status
from tests.publishers.publishing import Child, seqs
from tests.publishers.test_publishers import cursor, metric
from tests.support.waiting import DEADLINE_S, wait_for

Watch = Callable[..., Watcher]


def test_mosquitto_sub_sees_on_then_off_with_the_right_times(broker: Broker, sounds: Sounds, start: Start):
    start()
    command = [require("mosquitto_sub"), "-h", broker.host, "-p", str(broker.port), "-C", "3", "-W", str(DEADLINE_S)]
    command += ["-q", "1", "-F", "%U %p", "-t", "earmark/gate/siren", "-t", "earmark/available"]
    told: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline().endswith("online\n"), "it is kept: from now on the broker knows it"
        told.append(time.time())
        onset = sounds.begin("gate", "siren")
        first = program.stdout.readline().split()
        told.append(time.time())
        sounds.end(onset)
        second = program.stdout.readline().split()
        told.append(time.time())
        assert program.wait(DEADLINE_S) == 0
    assert [first[1], second[1]] == ["ON", "OFF"]
    assert told[0] - 0.01 <= float(first[0]) <= told[1] <= float(second[0]) + 0.01 <= told[2] + 0.02


def test_events_are_cloud_events_with_their_own_times(sounds: Sounds, start: Start, watch: Watch):
    watcher = watch()
    start(source_prefix="urn:house", filter={"labels": ["dog"]})
    onset = sounds.begin("gate", "dog")
    sounds.begin("gate", "cat")
    offset = sounds.end(onset, length_s=1.25)
    watcher.wait(lambda w: len(w.events) == 2)
    first, second = watcher.events
    assert [first["id"], second["id"]] == [f"{onset.event_id}/onset", f"{onset.event_id}/offset"]
    assert (first["source"], first["subject"]) == ("urn:house/streams/gate", "dog")
    assert datetime.fromisoformat(first["time"]) == onset.onset_time
    assert datetime.fromisoformat(second["time"]) == offset.offset_time
    assert second["data"]["onset_time"] == first["data"]["onset_time"]
    assert {m.content_type for m in watcher.messages if m.topic == "earmark/events"} == {STRUCTURED}
    watcher.wait(lambda w: w.of("earmark/gate/dog") == ["ON", "OFF"])
    assert not watcher.of("earmark/gate/cat")
    watcher.wait(lambda w: '"offset"' in w.newest.get("earmark/gate/last_event", ""))


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_a_broker_that_is_away_costs_nothing(  # noqa: PLR0917 -- fixtures
    broker: Broker, sounds: Sounds, start: Start, watch: Watch, outbox: OutboxConfig, blow: signal.Signals
):
    """The subscriber keeps its session: every event, in order per stream, none twice by id."""
    watcher = watch("earmark/events")
    start()
    streams = [("gate", "dog"), ("yard", "cat"), ("attic", "dog")]
    sounds.commit(*streams, n=30)
    watcher.wait(lambda w: len(w.events) == 90)
    wait_for(lambda: cursor(outbox, "mqtt") == 90)
    watcher.settle()
    broker.save()
    failures = metric("sink_failures_total", "mqtt")
    broker.stop(blow)
    sounds.commit(*streams, n=100)
    wait_for(lambda: metric("sink_failures_total", "mqtt") >= failures + 4)
    assert cursor(outbox, "mqtt") == 90
    broker.start()
    sounds.commit(*streams, n=30)
    watcher.wait(lambda w: len(w.events) >= 480)
    wait_for(lambda: cursor(outbox, "mqtt") == 480)
    assert [event["data"]["seq"] for event in watcher.events] == list(range(1, 481))
    assert len({event["id"] for event in watcher.events}) == 480


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_a_broker_that_goes_away_under_load(  # noqa: PLR0917 -- fixtures
    broker: Broker, sounds: Sounds, start: Start, watch: Watch, outbox: OutboxConfig, blow: signal.Signals
):
    """Only what it had not acknowledged comes twice: one window at most.

    What the broker itself repeats, it repeats to those whose sessions it keeps. A kill costs it what it did not save.
    """
    watcher, passer_by = watch("earmark/events"), watch("earmark/events", "passer-by", keep_s=0)
    start()
    for n_outages in range(1, 4):
        sounds.commit_many(400)
        sounds.commit()
        n_before = len(passer_by.events)
        passer_by.wait(lambda w, n_before=n_before: len(w.events) > n_before + 50)
        broker.stop(blow)
        broker.start()
        wait_for(lambda n=n_outages: min(watcher.n_connections, passer_by.n_connections) > n)
    wait_for(lambda: cursor(outbox, "mqtt") == 1203)
    watcher.wait(lambda w: any(event["data"]["seq"] == 1203 for event in w.events))
    seen = [event["data"]["seq"] for event in passer_by.events]
    assert len(seen) - len(set(seen)) <= 3 * WINDOW
    first_seen = list(dict.fromkeys(event["data"]["seq"] for event in watcher.events))
    assert first_seen == sorted(first_seen)
    if blow == signal.SIGTERM:
        assert first_seen == list(range(1, 1204))


def test_the_cursor_waits_for_the_brokers_word(
    broker: Broker, sounds: Sounds, start: Start, outbox: OutboxConfig, watch: Watch
):
    """A broker that is stopped in its sleep takes bytes and acknowledges nothing."""
    watcher = watch("earmark/events")
    start()
    sounds.commit()
    wait_for(lambda: cursor(outbox, "mqtt") == 1)
    assert broker._process is not None
    broker._process.send_signal(signal.SIGSTOP)
    sounds.commit(n=5)
    wait_for(lambda: cursor(outbox, "jsonl") == 6)
    assert cursor(outbox, "mqtt") == 1
    broker._process.send_signal(signal.SIGCONT)
    wait_for(lambda: cursor(outbox, "mqtt") == 6)
    watcher.wait(lambda w: len(w.events) >= 6)
    assert [event["data"]["seq"] for event in watcher.events] == [1, 2, 3, 4, 5, 6]


def test_an_old_siren_turns_nothing_on(broker: Broker, sounds: Sounds, start: Start, watch: Watch):
    watcher = watch()
    start()
    lasting = sounds.begin("gate", "engine", age_s=300)
    sounds.bark("gate", "siren")
    watcher.wait(lambda w: w.of("earmark/gate/siren") == ["ON", "OFF"])
    watcher.settle()
    failures = metric("sink_failures_total", "mqtt")
    broker.stop()
    sounds.bark("gate", "siren")
    sounds.begin("gate", "alarm", age_s=100)
    sounds.begin("gate", "bell", age_s=5)
    wait_for(lambda: metric("sink_failures_total", "mqtt") >= failures + 2)
    broker.start()
    watcher.wait(lambda w: w.newest.get("earmark/gate/bell") == "ON")
    sounds.bark("gate", "dog")
    watcher.wait(lambda w: w.of("earmark/gate/dog") == ["ON", "OFF"])
    assert watcher.of("earmark/gate/siren").count("ON") == 1
    assert set(watcher.of("earmark/gate/alarm")) == {"OFF"}
    assert "ON" not in watcher.of("earmark/gate/engine"), lasting
    assert len(watcher.events) == 9


def test_a_sound_whose_end_retention_took_does_not_stay_on(broker: Broker, sounds: Sounds, start: Start, watch: Watch):
    watcher = watch()
    start()
    onset = sounds.begin("gate", "siren")
    watcher.wait(lambda w: w.of("earmark/gate/siren") == ["ON"])
    broker.stop()
    sounds.end(onset)
    sounds.forget()
    sounds.begin("yard", "dog")
    broker.start()
    watcher.wait(lambda w: w.newest.get("earmark/gate/siren") == "OFF")
    watcher.wait(lambda w: w.newest.get("earmark/yard/dog") == "ON")


def test_a_group_is_a_label_like_any_other(sounds: Sounds, start: Start, watch: Watch):
    """The engine decides on it: its state follows its own events, whatever its labels' do."""
    watcher = watch()
    start(homeassistant={"labels": ["emergency"], "streams": ["gate"]})
    group = sounds.begin("gate", "emergency")
    sounds.bark("gate", "siren")
    watcher.wait(lambda w: w.of("earmark/gate/siren") == ["ON", "OFF"])
    assert watcher.of("earmark/gate/emergency")[-1] == "ON"
    sounds.end(group)
    watcher.wait(lambda w: w.of("earmark/gate/emergency")[-2:] == ["ON", "OFF"])
    topic = "homeassistant/binary_sensor/earmark/gate--sound_emergency/config"
    watcher.wait(lambda w: topic in w.newest)
    (entity,) = (message.json for message in watcher.messages if message.topic == topic)
    assert (entity["state_topic"], entity["device_class"]) == ("earmark/gate/emergency", "safety")


def test_what_another_release_wrote_is_skipped(sounds: Sounds, start: Start, watch: Watch, outbox: OutboxConfig):
    """Also where states are looked up in events of an earlier life."""
    watcher = watch("earmark/events")
    lost, taken = metric("sink_lost_events_total", "mqtt"), metric("sink_events_total", "mqtt")
    sounds.commit(n=6)
    for seq in (1, 4, 5):
        sounds.spoil(seq)
    with capture_logs() as logs:
        service = start()
        wait_for(lambda: cursor(outbox, "mqtt") == 6)
        watcher.wait(lambda w: len(w.events) == 3)
        service.stop()
        start()
        sounds.commit(n=2)
        watcher.wait(lambda w: len(w.events) == 5)
    assert [event["data"]["seq"] for event in watcher.events] == [2, 3, 6, 7, 8]
    assert [log["seq"] for log in logs if log["event"] == "event skipped"] == [1, 4, 5]
    assert not [log for log in logs if log["event"] == "sink failed"]
    assert metric("sink_lost_events_total", "mqtt") == lost + 3
    wait_for(lambda: metric("sink_events_total", "mqtt") == taken + 5)


def test_states_are_kept_and_right_after_a_restart(sounds: Sounds, start: Start, watch: Watch, outbox: OutboxConfig):
    service = start(retain=True)
    siren = sounds.begin("gate", "siren", age_s=10)
    sounds.begin("gate", "dog")
    wait_for(lambda: cursor(outbox, "mqtt") == 2)
    service.stop()
    before = watch("earmark/gate/+", "before")
    before.wait(lambda w: w.of("earmark/gate/siren") == ["ON"] and w.of("earmark/gate/dog") == ["ON"])
    assert all(message.is_kept for message in before.messages)
    sounds.end(siren)
    sounds.bark("gate", "cat")
    start(retain=True)
    wait_for(lambda: cursor(outbox, "mqtt") == 5)
    before.wait(lambda w: w.newest["earmark/gate/siren"] == "OFF" and "earmark/gate/cat" in w.newest)
    after = watch("earmark/gate/+", "after")
    after.wait(lambda w: len(w.newest) == 4)
    assert {topic.rpartition("/")[2]: payload for topic, payload in after.newest.items() if "last" not in topic} == {
        "siren": "OFF",
        "dog": "ON",
        "cat": "OFF",
    }
    assert set(before.of("earmark/gate/cat")) == {"OFF"}


def test_states_are_not_kept_unless_asked(sounds: Sounds, start: Start, watch: Watch, outbox: OutboxConfig):
    start()
    sounds.begin("gate", "dog")
    wait_for(lambda: cursor(outbox, "mqtt") == 1)
    watcher = watch()
    watcher.wait(lambda w: {"earmark/available", "earmark/gate/last_event"} <= w.newest.keys())
    assert "earmark/gate/dog" not in watcher.newest


def test_the_last_will(broker: Broker, start: Start, watch: Watch, outbox: OutboxConfig):
    watcher = watch("earmark/available")
    service = start()
    watcher.wait(lambda w: w.of("earmark/available") == ["online"])
    service.stop()
    watcher.wait(lambda w: w.of("earmark/available") == ["online", "offline"])
    child = Child(PublishersConfig(zeromq=None, http=None, mqtt=broker.config()), outbox)
    try:
        watcher.wait(lambda w: len(w.messages) == 3)
    finally:
        child.kill()
    watcher.wait(lambda w: w.of("earmark/available") == ["online", "offline"] * 2)
    late = watch("earmark/available", "late")
    late.wait(lambda w: [(m.payload, m.is_kept) for m in w.messages] == [("offline", True)])


def test_publishers_that_are_killed_lose_nothing(broker: Broker, sounds: Sounds, watch: Watch, outbox: OutboxConfig):
    watcher = watch("earmark/events")
    config = PublishersConfig(zeromq=None, http=None, mqtt=broker.config())
    child = Child(config, outbox)
    try:
        for _ in range(3):
            sounds.commit(n=100)
            n_before = len(watcher.events)
            watcher.wait(lambda w, n_before=n_before: len(w.events) > n_before + 20)
            child.kill()
            child = Child(config, outbox)
        watcher.wait(lambda w: {event["data"]["seq"] for event in w.events} == set(range(1, 301)))
    finally:
        child.kill()


def test_statuses_and_levels(start: Start, watch: Watch, outbox: OutboxConfig):
    watcher = watch()
    start()
    with shown(outbox) as engine:

        def tells(level_db: float | None, *, up: bool = True) -> Callable[[Watcher], bool]:
            expected = "null" if level_db is None or not up else f"{level_db:.1f}"

            def is_told(watcher: Watcher) -> bool:
                engine.tell(status(level_db=level_db, up=up), status("yard", level_db=None))
                return watcher.newest.get("earmark/gate/level") == expected

            return is_told

        for level_db, up in ((-34.25, True), (None, True), (-3.0, True), (-3.0, False)):
            is_told = tells(level_db, up=up)
            wait_for(lambda is_told=is_told: is_told(watcher))
        watcher.wait(lambda w: '"up": false' in w.newest["earmark/gate/status"])
    states = [message for message in watcher.messages if message.topic == "earmark/gate/status"]
    assert states[0].json == {"up": True, "coverage": 0.9877, "coverage_s": 3600.0, "level_db": -34.2, "lag_s": 0.12}
    assert states[-1].json == {"up": False, "coverage": 0.9877, "coverage_s": 3600.0, "level_db": None, "lag_s": 0.12}
    assert watcher.of("earmark/yard/level") == ["null"]
    watch("earmark/+/status", "late").wait(lambda w: len({m.topic for m in w.messages if m.is_kept}) == 2)
    assert not [m for m in watcher.messages if m.topic.endswith("/level") and m.is_kept]


def is_up(watcher: Watcher, stream: str) -> bool | None:
    payload = watcher.newest.get(f"earmark/{stream}/status")
    return json.loads(payload)["up"] if payload else None


def test_a_stream_that_a_reload_removed_is_told_to_be_down(start: Start, watch: Watch, outbox: OutboxConfig):
    watcher = watch()
    service = start()
    with shown(outbox) as engine:

        def tell(*streams: str) -> None:
            engine.tell(*(status(stream) for stream in streams))

        wait_for(lambda: tell("gate", "yard") or (is_up(watcher, "gate") and is_up(watcher, "yard")))
        service.publishers.reload(service.config, About(("gate",)))
        wait_for(lambda: tell("gate") or is_up(watcher, "yard") is False)
        assert is_up(watcher, "gate") is True
    late = watch("earmark/yard/status", "late")
    late.wait(lambda w: w.messages and w.messages[0].json["up"] is False)
    assert late.messages[0].is_kept


def test_a_stream_that_is_gone_after_a_restart_is_told_to_be_down(start: Start, watch: Watch, outbox: OutboxConfig):
    """As if publishers had been killed: the broker still keeps what they said last."""
    watcher = watch()
    for stream in ("gate", "yard"):
        watcher.say(f"earmark/{stream}/status", '{"up": true, "coverage": 0.99}', retain=True)
    watcher.say("earmark/attic/status", '{"up": false, "coverage": 0.5}', retain=True)
    watcher.say("elsewhere/yard/status", '{"up": true}', retain=True)
    watcher.settle()
    start()
    with shown(outbox) as engine:
        wait_for(lambda: engine.tell(status("gate")) or is_up(watcher, "yard") is False)
        engine.tell(status("gate"))
    assert all(message.json["up"] for message in watcher.messages if message.topic == "earmark/gate/status")
    assert watcher.of("earmark/attic/status") == ['{"up": false, "coverage": 0.5}']
    assert watcher.of("elsewhere/yard/status") == ['{"up": true}']


def test_states_that_the_broker_keeps_of_what_is_told_no_more_are_turned_off(
    sounds: Sounds, start: Start, watch: Watch
):
    watcher = watch()
    for topic in ("earmark/yard/dog", "earmark/gate/whistle", "earmark/gate/siren"):
        watcher.say(topic, "ON", retain=True)
    watcher.settle()
    sounds.begin("gate", "siren")
    start(retain=True)
    for topic in ("earmark/yard/dog", "earmark/gate/whistle"):
        watcher.wait(lambda w, topic=topic: w.newest[topic] == "OFF")
    watcher.wait(lambda w: w.of("earmark/gate/siren")[1:] == ["ON"])


def test_another_outbox_in_its_place(sounds: Sounds, start: Start, watch: Watch):
    watcher = watch()
    start()
    sounds.begin("gate", "siren")
    watcher.wait(lambda w: w.of("earmark/gate/siren") == ["ON"])
    sounds.replace()
    sounds.bark("gate", "dog")
    watcher.wait(lambda w: w.of("earmark/gate/siren") == ["ON", "OFF"])
    watcher.wait(lambda w: len(w.events) == 3)


def test_what_is_kept_for_json_lines_is_the_same(
    sounds: Sounds, start: Start, watch: Watch, outbox: OutboxConfig, tmp_path: Path
):
    watcher = watch("earmark/events")
    start()
    sounds.commit(n=20)
    watcher.wait(lambda w: len(w.events) == 20)
    wait_for(lambda: cursor(outbox, "jsonl") == 20)
    assert seqs(tmp_path / "events.jsonl") == list(range(1, 21))
    assert [event["data"]["seq"] for event in watcher.events] == list(range(1, 21))
