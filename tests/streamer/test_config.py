"""The sections: flat in YAML, extended by the service, strict."""

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from earmark.contracts.config import Section
from streamer.config import (
    FileSource,
    MicrophoneSource,
    StdinSource,
    StreamConfig,
    StreamerConfig,
    UrlSource,
    redact_url,
)

STREAM = TypeAdapter(StreamConfig)


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ({"source": "microphone", "device": 2}, MicrophoneSource),
        ({"source": "url", "url": "rtsp://camera/1"}, UrlSource),
        ({"source": "file", "path": "a.wav", "pace": "fast"}, FileSource),
        ({"source": "stdin", "channels": 2, "channel": 1}, StdinSource),
    ],
)
def test_the_source_decides_the_class(section, kind):
    assert type(STREAM.validate_python(section)) is kind


@pytest.mark.parametrize(
    "section",
    [
        {"source": "mic"},
        {"device": "default"},
        {"source": "microphone", "divice": "default"},
        {"source": "microphone", "input_rate_hz": 0},
        {"source": "stdin", "channels": 2, "channel": 2},
        {"source": "url", "url": "camera"},
        {"source": "file", "path": "a.wav", "pace": "slow"},
        {"source": "silence", "sample_rate_hz": 0},
    ],
)
def test_what_makes_no_sense_is_refused(section):
    with pytest.raises(ValidationError):
        STREAM.validate_python(section)


@pytest.mark.parametrize("section", [{"engines": []}, {"engines": ["localhost"]}, {"ring_s": 0}, {"block_s": 0}])
def test_the_shared_section_too(section):
    with pytest.raises(ValidationError):
        StreamerConfig.model_validate(section)


def test_the_service_adds_keys_of_its_own_by_subclassing():
    class Labelled(Section):
        labels: dict[str, float] = Field(default_factory=dict)

    class LabelledMicrophone(MicrophoneSource, Labelled):
        pass

    stream = LabelledMicrophone.model_validate({"source": "microphone", "labels": {"siren": 0.6}})
    assert isinstance(stream, MicrophoneSource)
    assert stream.labels == {"siren": 0.6}


def test_passwords_in_addresses_are_not_shown():
    for shown, as_it_is in [
        ("rtsp://user:***@host:554/a", "rtsp://user:secret@host:554/a"),
        ("rtsp://user:***@host:554/a@b", "rtsp://user:s:e@cr@t@host:554/a@b"),
        ("rtsp://me@home.org:***@host/a", "rtsp://me@home.org:secret@host/a"),
        ("rtsp://user:***@host/a", "rtsp://user:sec/r?e#t@host/a"),
        ("http://u:***@[::1]:80/a", "http://u:secret@[::1]:80/a"),
        ("http://host/video?*** gone", "http://host/video?user=a&pwd=secret gone"),
        ("two: http://u:***@a and http://u:***@b/c", "two: http://u:p@w@a and http://u:p@b/c"),
    ]:
        assert redact_url(as_it_is) == shown
    for harmless in ("http://host:80/a@b", "http://user@host:80/a@b", "rtsp://[::1]:554/a@b", "what? nothing"):
        assert redact_url(harmless) == harmless
