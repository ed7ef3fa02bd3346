"""A zone on a real broker: what a stream has there, but for a level."""

import json
from collections.abc import Callable

from earmark.outbox.config import OutboxConfig
from publishers.http.about import About
from publishers.mqtt.reports import statuses_of_zones
from tests.publishers.mqtt.broker import Watcher
from tests.publishers.mqtt.conftest import Start
from tests.publishers.mqtt.sounds import Sounds, shown, status
from tests.support.waiting import wait_for

ZONES = {"yard": ("gate", "barn")}


def test_a_zone_is_told_of_as_a_stream_is(start: Start, watch: Callable[..., Watcher], outbox: OutboxConfig):
    sounds, watcher = Sounds(outbox, ZONES), watch()
    start(about=About(zones=ZONES), homeassistant={"labels": ["dog"]})
    with shown(outbox) as engine:

        def tell(*, up: bool) -> None:
            engine.tell(status("gate", up=up), status("barn", up=False))

        def is_known() -> bool:
            tell(up=True)
            return "homeassistant/sensor/earmark/yard--last_event/config" in watcher.newest

        def is_down() -> bool:
            tell(up=False)
            return not json.loads(watcher.newest["earmark/yard/status"])["up"]

        wait_for(is_known)
        found = {topic.split("/")[-2]: topic for topic in watcher.newest if topic.endswith("/config")}
        assert {name for name in found if name.startswith("yard")} == {
            "yard--sound_dog",
            "yard--coverage",
            "yard--last_event",
        }
        assert json.loads(watcher.newest[found["yard--sound_dog"]])["device"]["model"] == "Zone"
        assert json.loads(watcher.newest[found["gate--sound_dog"]])["device"]["model"] == "Microphone"
        wait_for(lambda: watcher.newest.get("earmark/yard/dog") == "OFF")
        wait_for(lambda: '"up": true' in watcher.newest.get("earmark/yard/status", ""))
        wait_for(is_down)
        assert "earmark/yard/level" not in watcher.newest
    barks = [sounds.begin("gate", "dog"), sounds.begin("barn", "dog")]
    wait_for(lambda: watcher.newest.get("earmark/yard/dog") == "ON")
    for bark in barks:
        sounds.end(bark)
    sounds.settle()
    wait_for(lambda: watcher.newest.get("earmark/yard/dog") == "OFF")
    wait_for(lambda: json.loads(watcher.newest["earmark/yard/last_event"])["phase"] == "offset")
    assert json.loads(watcher.newest["earmark/yard/last_event"])["heard_by"] == ["gate", "barn"]
    wait_for(lambda: json.loads(watcher.newest["earmark/events"])["source"] == "/streams/yard")
    sounds.close()


def test_a_zone_is_listened_to_as_well_as_its_best_stream():
    statuses = [
        status("gate", up=False).model_copy(update={"coverage": 0.9}),
        status("barn").model_copy(update={"coverage": 0.2, "lag_s": 3.0}),
        status("cellar").model_copy(update={"coverage": 1.0}),
    ]
    (zone,) = statuses_of_zones(statuses, {**ZONES, "attic": ("mouse",)})
    assert zone.model_dump(exclude={"coverage_s"}) == {
        "stream": "yard",
        "up": True,
        "coverage": 0.2,
        "level_db": None,
        "lag_s": 3.0,
    }
