"""What Home Assistant finds on a real broker. Its own schemas judge it in ``make homeassistant``."""

import json
from collections.abc import Callable
from typing import Any

from earmark.outbox.config import OutboxConfig
from publishers.mqtt.config import HomeAssistantConfig, MqttConfig
from publishers.mqtt.homeassistant import Entities
from tests.publishers.mqtt.broker import Message, Watcher
from tests.publishers.mqtt.conftest import Start
from tests.publishers.mqtt.sounds import Sounds, shown, status
from tests.support.waiting import wait_for

Watch = Callable[..., Watcher]
HOME = {"labels": ["siren", "dog"], "streams": ["gate", "yard"]}
N_STREAM = 5
"""Entities of a stream: two labels, level, coverage, last event."""


def found(watcher: Watcher) -> dict[str, Any]:
    """What the broker holds for Home Assistant now."""
    newest = {m.topic: m for m in list(watcher.messages) if m.topic.endswith("/config")}
    return {topic: message.json for topic, message in newest.items() if message.payload}


def n_found(n: int) -> Callable[[Watcher], bool]:
    return lambda watcher: len(found(watcher)) == n


def test_a_device_a_stream_behind_the_service(start: Start, watch: Watch):
    watcher = watch("homeassistant/#")
    start(homeassistant=HOME)
    watcher.wait(n_found(1 + 2 * N_STREAM))
    late = watch("homeassistant/#", "late")
    late.wait(n_found(1 + 2 * N_STREAM))
    assert all(message.is_kept for message in late.messages)
    entities = found(late)
    ids = [entity["unique_id"] for entity in entities.values()]
    assert len(set(ids)) == len(ids)
    service = entities["homeassistant/binary_sensor/earmark/service/config"]
    assert service["device"]["identifiers"] == ["earmark"]
    assert service["state_topic"] == "earmark/available"
    siren = entities["homeassistant/binary_sensor/earmark/gate--sound_siren/config"]
    assert siren["device"] | {"sw_version": ""} == {
        "identifiers": ["earmark--gate"],
        "name": "gate",
        "manufacturer": "Earmark",
        "model": "Microphone",
        "sw_version": "",
        "via_device": "earmark",
    }
    assert (siren["state_topic"], siren["device_class"], siren["name"]) == ("earmark/gate/siren", "safety", "Siren")
    assert [place["topic"] for place in siren["availability"]] == ["earmark/available", "earmark/gate/status"]
    assert siren["availability_mode"] == "all"
    assert siren["origin"]["name"] == "Earmark"
    dog = entities["homeassistant/binary_sensor/earmark/yard--sound_dog/config"]
    assert (dog["state_topic"], dog["device_class"]) == ("earmark/yard/dog", "sound")
    level = entities["homeassistant/sensor/earmark/gate--level/config"]
    assert (level["unit_of_measurement"], level["state_class"]) == ("dB", "measurement")


def test_states_begin_off_so_that_nothing_is_unknown(start: Start, watch: Watch, outbox: OutboxConfig):
    watcher = watch("earmark/gate/#")
    start(homeassistant={"labels": ["siren", "emergency"]})
    with shown(outbox) as engine:

        def is_told() -> bool:
            engine.tell(status())
            return watcher.newest.get("earmark/gate/siren") == watcher.newest.get("earmark/gate/emergency") == "OFF"

        wait_for(is_told)


def test_ids_stay_over_a_restart(start: Start, watch: Watch):
    watcher = watch("homeassistant/#")
    start(homeassistant=HOME, control=True).stop()
    watcher.wait(n_found(1 + 2 * (N_STREAM + 1)))
    before = found(watcher)
    n_before = len(watcher.messages)
    start(homeassistant=HOME, control=True)
    watcher.wait(lambda w: len(w.messages) == 2 * n_before)
    assert found(watcher) == before


def test_what_was_removed_is_taken_back(start: Start, watch: Watch):
    watcher = watch("homeassistant/#")
    others = "homeassistant/sensor/somebody/x/config"
    watcher.say(others, "{}", retain=True)
    start(homeassistant=HOME, control=True).stop()
    watcher.wait(n_found(2 + 2 * (N_STREAM + 1)))
    start(homeassistant={"labels": ["dog"], "streams": ["gate"]})
    watcher.wait(n_found(2 + 4))
    parts = {topic.split("/")[-2] for topic in found(watcher)}
    assert parts == {"x", "service", "gate--sound_dog", "gate--level", "gate--coverage", "gate--last_event"}
    late = watch("homeassistant/#", "late")
    late.wait(n_found(6))


def test_streams_that_are_not_listed_come_as_engines_tell_of_them(start: Start, watch: Watch, outbox: OutboxConfig):
    watcher = watch("homeassistant/#")
    start(homeassistant=HOME | {"streams": ["gone"]}).stop()
    watcher.wait(n_found(1 + 5))
    service = start(homeassistant={"labels": ["dog"]})
    with shown(outbox) as engine:

        def is_told() -> bool:
            engine.tell(status("gate"))
            return len(found(watcher)) == 1 + 5 + 4

        wait_for(is_told)
    service.stop()
    start(homeassistant={"labels": ["dog"], "streams": ["gate"]})
    watcher.wait(n_found(1 + 4))


def test_all_is_told_again_when_home_assistant_begins(sounds: Sounds, start: Start, watch: Watch):
    watcher = watch()
    start(homeassistant=HOME)
    sounds.begin("gate", "dog")
    watcher.wait(lambda w: n_found(11)(w) and w.of("earmark/gate/dog")[-1:] == ["ON"])
    watcher.settle()
    n_before = len(watcher.messages)
    watcher.say("homeassistant/status", "offline")
    watcher.say("homeassistant/status", "online")

    def again(name: str) -> list[Message]:
        return [message for message in watcher.messages[n_before:] if message.topic.endswith(name)]

    watcher.wait(lambda w: len(again("/config")) == 11 and [m.payload for m in again("/gate/dog")] == ["ON"])
    assert len(again("/events")) == 0


def test_an_entity_that_somebody_deleted_stays_away(start: Start, watch: Watch):
    watcher = watch("homeassistant/#")
    start(homeassistant=HOME)
    watcher.wait(n_found(11))
    topic = "homeassistant/sensor/earmark/yard--coverage/config"
    watcher.say(topic, "", retain=True)
    watcher.wait(n_found(10))
    watcher.say("homeassistant/sensor/earmark/gate--old/config", "{}", retain=True)
    watcher.wait(lambda w: w.of("homeassistant/sensor/earmark/gate--old/config") == ["{}", ""])
    assert watcher.of(topic)[-1] == ""


def test_no_two_entities_share_a_topic_or_an_id():
    config = MqttConfig(host="h", prefix="house/a", control=True)
    entities = Entities(config, HomeAssistantConfig(labels=("g-1", "b", "-b", "b-", "level", "Hundegebell")))
    topics, ids = list[str](), list[str]()
    for stream in ("a", "a-", "a--b", "-a", "a--", "level", "service", ""):
        for topic, payload in entities.messages(stream):
            assert entities.stream_of(topic) == stream
            topics.append(topic)
            ids.append(json.loads(payload)["unique_id"])
    assert len(set(topics)) == len(topics) == len(set(ids))
