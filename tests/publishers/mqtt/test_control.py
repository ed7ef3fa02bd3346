"""Streams that are switched off and on by whoever may write to the broker."""

from collections.abc import Callable

import pytest

from earmark.outbox.config import OutboxConfig
from earmark.telemetry.metrics import REGISTRY
from tests.publishers.mqtt.broker import Watcher
from tests.publishers.mqtt.conftest import Start
from tests.publishers.mqtt.sounds import Sounds
from tests.publishers.test_publishers import cursor
from tests.support.waiting import wait_for

Watch = Callable[..., Watcher]
SET, ENABLED = "earmark/gate/set", "earmark/gate/enabled"


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"earmark_{name}_total", labels) or 0.0


def ids(watcher: Watcher) -> list[str]:
    return [event["data"]["label"] + "/" + event["data"]["phase"] for event in watcher.events]


def test_a_stream_is_switched_off_and_on_and_says_so(sounds: Sounds, start: Start, watch: Watch, outbox: OutboxConfig):
    watcher = watch()
    start(control=True)
    siren = sounds.begin("gate", "siren")
    watcher.wait(lambda w: w.of("earmark/gate/siren") == ["ON"] and w.of(ENABLED) == ["ON"])
    watcher.say(SET, '{"enabled": false}')
    watcher.wait(lambda w: w.of("earmark/gate/siren") == ["ON", "OFF"] and w.of(ENABLED) == ["ON", "OFF"])
    before = counted("sink_held_back_events", sink="mqtt", reason="disabled")
    sounds.bark("gate", "dog")
    sounds.bark("yard", "dog")
    watcher.wait(lambda w: w.of("earmark/yard/dog") == ["ON", "OFF"])
    assert "ON" not in watcher.of("earmark/gate/dog")
    assert counted("sink_held_back_events", sink="mqtt", reason="disabled") == before + 2
    assert cursor(outbox, "jsonl") == 5
    watcher.say(SET, '{"enabled": true}')
    watcher.wait(lambda w: w.of("earmark/gate/siren") == ["ON", "OFF", "ON"] and w.of(ENABLED)[-1] == "ON")
    sounds.end(siren)
    watcher.wait(lambda w: w.of("earmark/gate/siren")[-1] == "OFF")
    assert ids(watcher) == ["siren/onset", "dog/onset", "dog/offset", "siren/offset"]


def test_it_stays_off_over_a_restart(sounds: Sounds, start: Start, watch: Watch, outbox: OutboxConfig):
    watcher = watch()
    service = start(control=True)
    sounds.bark()
    watcher.wait(lambda w: len(w.events) == 2 and w.of(ENABLED) == ["ON"])
    watcher.say(SET, '{"enabled": false}')
    watcher.wait(lambda w: w.of(ENABLED) == ["ON", "OFF"])
    service.stop()
    sounds.bark()
    start(control=True)
    sounds.bark()
    wait_for(lambda: cursor(outbox, "mqtt") == 6)
    assert len(watcher.events) == 2
    assert watcher.of("earmark/gate/dog").count("ON") == 1
    watcher.say(SET, '{"enabled": true}')
    watcher.wait(lambda w: w.of(ENABLED)[-1] == "ON")
    sounds.bark()
    watcher.wait(lambda w: len(w.events) == 4)


def test_it_is_off_unless_configured(sounds: Sounds, start: Start, watch: Watch):
    watcher = watch()
    watcher.say(ENABLED, "OFF", retain=True)
    start()
    watcher.say(SET, '{"enabled": false}')
    sounds.bark()
    watcher.wait(lambda w: w.of("earmark/gate/dog") == ["ON", "OFF"] and len(w.events) == 2)
    assert watcher.of(ENABLED) == ["OFF"]


@pytest.mark.parametrize(
    "payload", ["", "off", "{", '{"enabled": 0}', '{"enabled": false, "x": 1}', "[" * 9999, "\ud7ff"]
)
def test_what_is_no_command_is_counted_and_does_nothing(sounds: Sounds, start: Start, watch: Watch, payload: str):
    watcher = watch()
    start(control=True)
    before = counted("refused_records", reason="mqtt")
    watcher.say(SET, payload)
    watcher.say("earmark/NOT A STREAM/set", '{"enabled": false}')
    wait_for(lambda: counted("refused_records", reason="mqtt") == before + 1)
    sounds.bark()
    watcher.wait(lambda w: len(w.events) == 2)
