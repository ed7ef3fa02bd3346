"""Writes what Home Assistant is told, a JSON line each, and what arrives on the topics that it names.

``make homeassistant`` pipes this into ``homeassistant_schemas.py``, which runs in an environment of its own.
"""

import json
import sys

from publishers.mqtt.config import MqttConfig
from publishers.mqtt.homeassistant import Entities
from publishers.mqtt.reports import level_text, status_text
from publishers.mqtt.topics import OFF, ON, ONLINE
from tests.publishers.mqtt.sounds import status
from tests.support.events import make_event


def main() -> None:
    config = MqttConfig.model_validate(
        {
            "host": "localhost",
            "prefix": "house/earmark",
            "control": True,
            "homeassistant": {"labels": ["emergency", "dog", "siren", "Kinder schreien", "level"]},
        }
    )
    assert config.homeassistant is not None
    entities = Entities(config, config.homeassistant, zones=["yard"])
    samples = {
        "available": [ONLINE],
        "status": [status_text(status()), status_text(status(up=False))],
        "level": [level_text(-34.26), level_text(None)],
        "last_event": [make_event(1).model_dump_json()],
        "enabled": [ON, OFF],
    }
    for stream in ("", "gate", "0-9_a", "-", "yard"):
        for topic, payload in entities.messages(stream):
            name = json.loads(payload)["state_topic"].rpartition("/")[2]
            sys.stdout.write(json.dumps([topic, payload, samples.get(name, [ON, OFF])]) + "\n")


if __name__ == "__main__":
    main()
