"""What labels are called on the broker and in Home Assistant."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publishers.mqtt.config import MqttConfig
from publishers.mqtt.topics import slug


@pytest.mark.parametrize("labels", [("狗", "猫"), ("ä", "ö"), ("собака", "кошка", "dog"), ("Öl", "öl")])
def test_labels_of_any_script_have_entities_of_their_own(labels):
    config = MqttConfig.model_validate({"host": "localhost", "homeassistant": {"labels": labels}})
    assert config.homeassistant is not None
    assert len({slug(label) for label in labels}) == len(labels)


@given(st.text(min_size=1, max_size=20))
def test_an_entity_id_has_letters_digits_and_underscores_alone(text):
    assert re.fullmatch("[a-z0-9_]+", slug(text))


@pytest.mark.parametrize(
    ("label", "expected"), [("dog", "dog"), ("Door slam", "door_slam"), ("clock-alarm", "clock_alarm")]
)
def test_entity_ids_of_ascii_labels_stay_what_they_were(label, expected):
    assert slug(label) == expected
