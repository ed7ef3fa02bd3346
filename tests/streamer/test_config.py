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


@pytest.mark.parametrize("secret", ["p@ss#1", "a/b?c", "80/x@y"])
def test_an_address_whose_password_nobody_can_find_the_end_of_is_refused_and_not_shown(secret):
    section = {"source": "url", "url": f"rtsp://viewer:{secret}@host:554/a"}
    with pytest.raises(ValidationError, match="%2F for /, %3F for") as caught:
        STREAM.validate_python(section)
    assert secret not in caught.value.errors(include_input=False)[0]["msg"]


def test_a_password_is_encoded():
    stream = STREAM.validate_python({"source": "url", "url": "rtsp://viewer:p@ss word@host:554/a"})
    assert stream.url == "rtsp://viewer:p%40ss%20word@host:554/a"
