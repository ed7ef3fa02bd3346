"""The configuration of the whole service. Each package owns its section; this one only puts them together."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from earmark.contracts.config import Section, SmoothingOverride
from earmark.contracts.streams import check_stream_name
from earmark.outbox.config import OutboxConfig
from earmark.telemetry.config import TelemetryConfig
from engine.config import EngineConfig
from publishers.config import PublishersConfig
from streamer.config import FileSource, MicrophoneSource, SilenceSource, StdinSource, StreamerConfig, UrlSource


class Labelled(Section):
    """What the engine, not the streamer, wants to know of a stream."""

    labels: dict[str, SmoothingOverride] = Field(default_factory=dict[str, SmoothingOverride])
    """What this stream changes of the bundle's smoothing, by label."""
    clips: bool = False
    """Whether the sound of its events may be stored, by ``publishers.clips``."""


class MicrophoneStream(Labelled, MicrophoneSource):
    """An input device of this machine."""


class UrlStream(Labelled, UrlSource):
    """A camera or a radio: RTSP, HTTP, whatever FFmpeg opens."""


class FileStream(Labelled, FileSource):
    """A sound file of any format that FFmpeg reads."""


class StdinStream(Labelled, StdinSource):
    """Raw PCM on standard input: signed 16 bits, little-endian, channels interleaved."""


class SilenceStream(Labelled, SilenceSource):
    """Digital silence in real time: a stream to try things with."""


Stream: TypeAlias = Annotated[
    MicrophoneStream | UrlStream | FileStream | StdinStream | SilenceStream, Field(discriminator="source")
]


StreamName: TypeAlias = Annotated[str, AfterValidator(check_stream_name)]


def _default_streams() -> dict[StreamName, Stream]:
    return {"microphone": MicrophoneStream()}


class ServiceConfig(Section):
    """One file for the whole service; every process reads its own sections of it."""

    streams: Annotated[dict[StreamName, Stream], Field(min_length=1)] = Field(default_factory=_default_streams)
    """What is listened to, by name; without it, the default microphone."""
    streamer: StreamerConfig = Field(default_factory=StreamerConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)
    outbox: OutboxConfig = Field(default_factory=OutboxConfig)
    publishers: PublishersConfig = Field(default_factory=PublishersConfig)
    telemetry: TelemetryConfig = Field(default_factory=TelemetryConfig)

    @property
    def overrides(self) -> dict[str, dict[str, SmoothingOverride]]:
        """What streams change of the bundle's smoothing, by stream and label."""
        return {name: stream.labels for name, stream in self.streams.items() if stream.labels}

    @property
    def clips(self) -> tuple[str, ...]:
        """Streams the sound of whose events may be stored."""
        return tuple(name for name, stream in self.streams.items() if stream.clips)
