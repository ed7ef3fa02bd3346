"""The AsyncAPI document describes what is really sent. `make asyncapi` asks AsyncAPI's own parser about the rest."""

import json
import re
from datetime import UTC, datetime

import jsonschema
import pytest

from earmark.app.asyncapi import document
from earmark.contracts import cloudevents
from earmark.contracts.events import SoundEvent
from earmark.contracts.monitor import StreamStatus
from publishers.mqtt.reports import level_text, status_text
from publishers.mqtt.topics import RESERVED
from publishers.webhook.signature import sign

DOCUMENT = document()
NOW = datetime(2026, 11, 21, 10, 0, 0, 250_000, tzinfo=UTC)
EVENT = SoundEvent(
    event_id="0" * 32,
    seq=7,
    stream="gate",
    epoch="0" * 16,
    label="siren",
    phase="offset",
    onset_sample=16_000,
    offset_sample=32_000,
    sample_rate_hz=16_000,
    onset_time=NOW,
    offset_time=NOW,
    score_peak=0.9,
    score_mean=0.8,
    level_db=None,
    reason=None,
    decided_at=NOW,
    delay_ms=1.5,
    model="urban@1+0",
)


def validator(message: str, part: str = "payload") -> jsonschema.Draft202012Validator:
    schema = {**DOCUMENT["components"]["messages"][message][part], "components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def test_every_reference_leads_somewhere():
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT))
    assert references
    for reference in references:
        part = DOCUMENT
        for key in reference.split("/"):
            part = part[key]


def test_every_message_and_server_is_used():
    channels = DOCUMENT["channels"].values()
    assert {name for channel in channels for name in channel["messages"]} == set(DOCUMENT["components"]["messages"])
    used = {server["$ref"].rpartition("/")[2] for channel in channels for server in channel["servers"]}
    assert used == set(DOCUMENT["servers"])


@pytest.mark.parametrize("name", DOCUMENT["channels"])
def test_a_topic_names_its_parameters(name):
    channel = DOCUMENT["channels"][name]
    assert set(re.findall(r"{(\w+)}", channel["address"] or "")) == set(channel.get("parameters", {}))


def test_every_topic_of_a_stream_is_there():
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    assert {f"{{prefix}}/{{stream}}/{name}" for name in RESERVED} <= addresses


def test_an_event_is_what_the_document_says():
    validator("SoundEvent").validate(json.loads(EVENT.model_dump_json()))
    validator("CloudEvent").validate(json.loads(cloudevents.encode_structured(EVENT)))
    validator("WebhookEvent").validate(json.loads(cloudevents.encode_structured(EVENT)))
    validator("WebhookBatch").validate(json.loads(cloudevents.encode_batch([EVENT, EVENT])))
    headers, body = cloudevents.encode_binary(EVENT)
    signed = {"idempotency-key": "k", **sign([b"0" * 32], "k", 0, body)}
    validator("WebhookBinary", "headers").validate({**headers, **signed})
    validator("WebhookBinary").validate(json.loads(body))
    for message in ("WebhookEvent", "WebhookBatch"):
        validator(message, "headers").validate(signed)
        assert set(signed) == set(DOCUMENT["components"]["messages"][message]["headers"]["properties"])


@pytest.mark.parametrize("level_db", [None, -23.456, -120.0])
def test_a_status_and_a_level_are_what_the_document_says(level_db):
    status = StreamStatus(stream="gate", up=True, coverage=0.5, coverage_s=180.0, level_db=level_db, lag_s=0.1)
    validator("StreamStatus").validate(json.loads(status_text(status)))
    validator("Level").validate(level_text(level_db))


def test_another_event_is_not():
    assert not validator("CloudEvent").is_valid({**cloudevents.cloud_event(EVENT), "type": "earmark.sound.other"})
    assert not validator("SoundEvent").is_valid({"event_id": "1"})
