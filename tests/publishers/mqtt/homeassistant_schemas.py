"""Judges what ``homeassistant_payloads.py`` writes by Home Assistant's own schemas, and these by what is wrong."""

import json
import sys
from typing import Any

import voluptuous
from homeassistant.components.mqtt import binary_sensor, discovery, sensor, switch
from homeassistant.components.mqtt.mixins import MQTT_ORIGIN_INFO_SCHEMA
from jinja2 import Environment

SCHEMAS = {"binary_sensor": binary_sensor, "sensor": sensor, "switch": switch}


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check(component: str, content: dict[str, Any], samples: list[str]) -> None:
    """Raises what the schema raises; asserts that templates make of samples what an entity of this kind takes."""
    SCHEMAS[component].DISCOVERY_SCHEMA(content)
    MQTT_ORIGIN_INFO_SCHEMA(content["origin"])
    template = Environment(autoescape=False).from_string(content.get("value_template", "{{ value }}"))  # noqa: S701
    for sample in samples:
        value_json = json.loads(sample) if sample[0] in "{[" else None
        value = template.render(value=sample, value_json=value_json)
        if "unit_of_measurement" in content:
            assert value == "None" or is_number(value), (content["unique_id"], value)
        elif component == "sensor":
            assert 0 < len(value) < 256, value
        else:
            words = ("payload_on", "payload_off") if component == "binary_sensor" else ("state_on", "state_off")
            assert value in {content[word] for word in words}, (content["unique_id"], value)


def is_refused(component: str, content: dict[str, Any]) -> bool:
    try:
        check(component, content, [])
    except voluptuous.Invalid:
        return True
    return False


def main() -> None:
    n_good = 0
    for line in sys.stdin:
        topic, payload, samples = json.loads(line)
        match = discovery.TOPIC_MATCHER.match(topic.removeprefix("homeassistant/"))
        assert match is not None, topic
        content = json.loads(payload)
        check(match["component"], content, samples)
        for wrong in ({"device_class": "noise"}, {"availability_mode": "some"}, {"device": {}}, {"state_topic": "a#"}):
            assert is_refused(match["component"], content | wrong), (topic, wrong)
        n_good += 1
    assert n_good > 20, n_good
    sys.stdout.write(f"Home Assistant takes all {n_good} entities\n")


if __name__ == "__main__":
    main()
