"""The configuration's sections ``streams.NAME`` (one class per kind of source) and ``streamer``.

The service adds keys of its own to a stream by subclassing these, e.g.
``class LabelledMicrophone(MicrophoneSource, Labelled)``; the streamer looks at the base class only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, field_validator, model_validator

from earmark.contracts.addresses import ack_address
from earmark.contracts.config import Section
from earmark.contracts.curve import CurveClient
from earmark.contracts.urls import normalise_url

SampleRate = Annotated[int, Field(gt=0, le=384_000)]
Channel = Annotated[int, Field(ge=0, lt=64)] | Literal["mix"]
Track = Annotated[int, Field(ge=0, lt=64)] | None


class SourceSection(Section):
    """What every source has in common."""

    sample_rate_hz: SampleRate = 16_000
    """Rate that is sent: the bundle's. Sources of another rate are resampled."""
    priority: bool = False
    """Goes out before the streamer's others: where engines cannot keep up, those wait and lose what becomes too old."""


class MicrophoneSource(SourceSection):
    """An input device of this machine."""

    source: Literal["microphone"] = "microphone"
    device: int | str = "default"
    """Index, a part of the name (``earmark devices`` lists both), or ``default``."""
    channel: Channel = 0
    """Which channel is analysed, from 0; ``mix`` takes the mean of all."""
    input_rate_hz: SampleRate | None = None
    """Rate at which the device is opened; None takes the device's own."""


class UrlSource(SourceSection):
    """A camera or a radio: RTSP, HTTP, whatever FFmpeg opens. Never waited for."""

    source: Literal["url"] = "url"
    url: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://.+"), AfterValidator(normalise_url)]
    """Its address, e.g. ``rtsp://user:${PASSWORD}@host/path``. The values of variables are percent-encoded where that
    is needed."""
    channel: Channel = 0
    """Which channel is analysed, from 0; ``mix`` takes the mean of all."""
    track: Track = None
    """Which audio track is analysed, from 0; None takes the one that the source marks as its default."""
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Without audio for this long, whatever else comes, the source counts as gone, and is opened again."""


class FileSource(SourceSection):
    """A sound file of any format that FFmpeg reads."""

    source: Literal["file"] = "file"
    path: Path
    channel: Channel = 0
    """Which channel is analysed, from 0; ``mix`` takes the mean of all."""
    track: Track = None
    """Which audio track is analysed, from 0; None takes the one that the file marks as its default."""
    pace: Literal["realtime", "fast"] = "realtime"
    """``fast`` goes as fast as the engine takes it, and loses nothing."""
    loop: bool = False
    """Whether it begins again at its end, without a gap and without an end to the stream."""


class StdinSource(SourceSection):
    """Raw PCM on standard input: signed 16 bits, little-endian, channels interleaved. Waits, and loses nothing."""

    source: Literal["stdin"] = "stdin"
    input_rate_hz: SampleRate = 16_000
    channels: Annotated[int, Field(gt=0, le=64)] = 1
    channel: Channel = 0
    """Which channel is analysed, from 0; ``mix`` takes the mean of all."""

    @model_validator(mode="after")
    def _channel_is_there(self) -> Self:
        if self.channel != "mix" and self.channel >= self.channels:
            raise ValueError(f"channel counts from 0 and is below channels ({self.channels}), got {self.channel}")
        return self


class SilenceSource(SourceSection):
    """Digital silence in real time: a stream to try things with."""

    source: Literal["silence"] = "silence"


StreamConfig: TypeAlias = Annotated[
    MicrophoneSource | UrlSource | FileSource | StdinSource | SilenceSource, Field(discriminator="source")
]


class StreamerConfig(Section):
    """What all streams share."""

    engines: Annotated[tuple[str, ...], Field(min_length=1)] = ("tcp://127.0.0.1:7701",)
    """Where engines take blocks; a stream goes to one of them, found by rendezvous hashing."""
    curve: CurveClient | None = None
    """Encrypts what goes to the engines, which have ``engine.curve``; all of them have the same key."""
    ring_s: Annotated[float, Field(gt=0)] = 120.0
    """How much audio a stream keeps for an engine that is away. What is further behind than this less the bundle's
    window and warm-up, ``engine.checkpoint_s`` and 10 s is skipped: with the bundle that ships, 50 s less."""
    block_s: Annotated[float, Field(ge=0.005, le=1.0)] = 0.02
    """How often a live source hands over what it heard."""

    @field_validator("engines")
    @classmethod
    def _are_addresses(cls, engines: tuple[str, ...]) -> tuple[str, ...]:
        for engine in engines:
            ack_address(engine)
        return engines


def from_stdin(streams: Mapping[str, SourceSection]) -> list[str]:
    """The streams that want standard input, by name; there is one of it."""
    return sorted(name for name, source in streams.items() if isinstance(source, StdinSource))
