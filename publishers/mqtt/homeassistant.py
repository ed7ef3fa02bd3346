"""What Home Assistant is told of entities and devices, as its MQTT discovery takes it.

A topic is ``PREFIX/COMPONENT/NODE/OBJECT/config``; ``NODE`` is made of the service's own prefix, ``OBJECT`` of the
stream and the entity. A label's part of it has no hyphen, so that the last two tell the stream's name from it.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from publishers.mqtt.config import HomeAssistantConfig, MqttConfig
from publishers.mqtt.topics import OFF, OFFLINE, ON, ONLINE, Topics, segment, slug

SAFETY = frozenset(
    {"alarm", "clock_alarm", "emergency", "fire_alarm", "glass_breaking", "gun_shot", "gunshot", "siren", "smoke_alarm"}
)
"""Labels that are about danger; other sounds are just sounds."""
_SERVICE = "service"


@dataclass(frozen=True)
class Entity:
    """One entity.

    Attributes:
        component: What it is for Home Assistant.
        stream: Whose it is; empty for the service's own.
        part: What it shows, `slug`.
        settings: Its own.
    """

    component: str
    stream: str
    part: str
    settings: dict[str, Any]


class Entities:
    """The entities of a configuration.

    Args:
        config: The sink's.
        home: Home Assistant's part of it.
        zones: Names of those streams that are zones.
    """

    def __init__(self, config: MqttConfig, home: HomeAssistantConfig, zones: Collection[str] = ()) -> None:
        self._config = config
        self._home = home
        self._zones = zones
        self._topics = Topics(config.prefix)
        self._version = version("earmark")
        self.node = slug(config.prefix)

    @property
    def filter(self) -> str:
        """What to subscribe to for all that was ever published."""
        return f"{self._home.prefix}/+/{self.node}/+/config"

    @property
    def birth(self) -> str:
        """Where Home Assistant says that it is there."""
        return f"{self._home.prefix}/status"

    def messages(self, stream: str) -> Iterator[tuple[str, str]]:
        """Topics and payloads of a stream, or of the service for an empty name."""
        for entity in self._of_stream(stream) if stream else self._of_service():
            object_id = f"{entity.stream}--{entity.part}" if entity.stream else _SERVICE
            yield f"{self._home.prefix}/{entity.component}/{self.node}/{object_id}/config", self._payload(entity)

    def stream_of(self, topic: str) -> str | None:
        """The stream of a topic that fits `filter`, empty for the service's own; None for what is none of ours."""
        object_id = topic.split("/")[-2]
        stream, separator, _ = object_id.rpartition("--")
        return stream if separator else "" if object_id == _SERVICE else None

    def _of_service(self) -> Iterator[Entity]:
        settings = {"name": "Connected", "device_class": "connectivity", "entity_category": "diagnostic"}
        states = {"state_topic": self._topics.available, "payload_on": ONLINE, "payload_off": OFFLINE}
        yield Entity("binary_sensor", "", _SERVICE, settings | states)

    def _of_stream(self, stream: str) -> Iterator[Entity]:
        for label in self._home.labels:
            yield self._sound(stream, segment(label))
        if stream not in self._zones:
            yield self._level(stream)
        yield self._coverage(stream)
        yield self._last_event(stream)
        if self._config.control:
            yield self._switch(stream)

    def _sound(self, stream: str, name: str) -> Entity:
        settings: dict[str, Any] = {
            "name": name.replace("_", " ").strip().capitalize(),
            "device_class": "safety" if name in SAFETY else "sound",
            "state_topic": self._topics.of(stream, name),
            "payload_on": ON,
            "payload_off": OFF,
            **self._while_up(stream),
        }
        return Entity("binary_sensor", stream, "sound_" + slug(name), settings)

    def _level(self, stream: str) -> Entity:
        settings: dict[str, Any] = {
            "name": "Level",
            "state_topic": self._topics.of(stream, "level"),
            "value_template": "{{ None if value == 'null' else value }}",
            "unit_of_measurement": "dB",
            "state_class": "measurement",
            "suggested_display_precision": 0,
            "icon": "mdi:volume-high",
            **self._while_up(stream),
        }
        return Entity("sensor", stream, "level", settings)

    def _coverage(self, stream: str) -> Entity:
        settings: dict[str, Any] = {
            "name": "Coverage",
            "state_topic": self._topics.of(stream, "status"),
            "value_template": "{{ (value_json.coverage * 100) | round(1) }}",
            "unit_of_measurement": "%",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "icon": "mdi:ear-hearing",
        }
        return Entity("sensor", stream, "coverage", settings)

    def _last_event(self, stream: str) -> Entity:
        topic = self._topics.of(stream, "last_event")
        settings: dict[str, Any] = {
            "name": "Last event",
            "state_topic": topic,
            "value_template": "{{ value_json.label }}",
            "json_attributes_topic": topic,
            "icon": "mdi:waveform",
        }
        return Entity("sensor", stream, "last_event", settings)

    def _switch(self, stream: str) -> Entity:
        settings: dict[str, Any] = {
            "name": "Enabled",
            "state_topic": self._topics.of(stream, "enabled"),
            "state_on": ON,
            "state_off": OFF,
            "command_topic": self._topics.of(stream, "set"),
            "payload_on": json.dumps({"enabled": True}),
            "payload_off": json.dumps({"enabled": False}),
            "qos": 1,
            "entity_category": "config",
            "icon": "mdi:microphone",
        }
        return Entity("switch", stream, "enabled", settings)

    def _while_up(self, stream: str) -> dict[str, Any]:
        up = "{{ 'online' if value_json.up else 'offline' }}"
        status = {"topic": self._topics.of(stream, "status"), "value_template": up}
        return {"availability": [{"topic": self._topics.available}, status]}

    def _payload(self, entity: Entity) -> str:
        name = f"{self.node}--{entity.stream}--{entity.part}" if entity.stream else f"{self.node}--{_SERVICE}"
        content: dict[str, Any] = {
            "unique_id": name,
            "origin": {"name": "Earmark", "sw_version": self._version},
            "device": self._device(entity.stream),
            **entity.settings,
        }
        if entity.stream:
            content.setdefault("availability", [{"topic": self._topics.available}])
            content["availability_mode"] = "all"
        return json.dumps(content)

    def _device(self, stream: str) -> dict[str, Any]:
        common = {"manufacturer": "Earmark", "sw_version": self._version}
        if not stream:
            name = "Earmark" if self._config.prefix == "earmark" else f"Earmark {self._config.prefix}"
            return {"identifiers": [self.node], "name": name, "model": "Sound event detector", **common}
        return {
            "identifiers": [f"{self.node}--{stream}"],
            "name": stream,
            "model": "Zone" if stream in self._zones else "Microphone",
            "via_device": self.node,
            **common,
        }
