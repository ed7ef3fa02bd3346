"""The configuration of the whole service. Each package owns its section; this one only puts them together."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from earmark.contracts.config import Section, SmoothingOverride
from earmark.contracts.streams import check_stream_name
from earmark.outbox.config import OutboxConfig
from earmark.telemetry.config import TelemetryConfig
from engine.config import EngineConfig
from publishers.config import PublishersConfig
from publishers.http.coarse import Detail
from streamer.config import FileSource, MicrophoneSource, SilenceSource, StdinSource, StreamerConfig, UrlSource

DEFAULT_PORT_BASE = 7700
StreamName: TypeAlias = Annotated[str, AfterValidator(check_stream_name)]


class Labelled(Section):
    """What the engine, not the streamer, wants to know of a stream."""

    zone: StreamName | None = None
    """Where it listens, by a name of its own: streams of one zone that hear the same sound give one event of the zone
    beside their own."""
    labels: dict[str, SmoothingOverride] = Field(default_factory=dict[str, SmoothingOverride])
    """What this stream changes of the bundle's smoothing, by label."""
    clips: bool = False
    """Whether the sound of its events may be stored, by ``publishers.clips``."""
    spectrogram: Detail | None = None
    """What the page shows of its sound: ``full``, ``coarse`` (8 bands every half second, from which speech cannot be
    rebuilt) or ``none``. Default: ``full`` with ``clips: true``, and where only this machine reaches the page
    (``publishers.http`` on loopback, without password, token and ``hosts``); else ``coarse``."""


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


def _default_streams() -> dict[StreamName, Stream]:
    return {"microphone": MicrophoneStream()}


class SupervisorConfig(Section):
    """How ``earmark run`` keeps its processes alive and ends them."""

    restart_limit: Annotated[int, Field(ge=1)] | None = 20
    """A process that ended so many times, and never worked for 30 s in between, ends the service with exit code 3;
    null: it is tried for ever."""
    stop_s: Annotated[float, Field(gt=0)] = 20.0
    """When the service is told to end, it decides on what it has heard and tells of it for so long at most; whatever
    has not ended then is killed."""


class ServiceConfig(Section):
    """One file for the whole service; every process reads its own sections of it."""

    streams: Annotated[dict[StreamName, Stream], Field(min_length=1)] = Field(default_factory=_default_streams)
    """What is listened to, by name; without it, the default microphone."""
    port_base: Annotated[int, Field(ge=1024, le=65_000)] = DEFAULT_PORT_BASE
    """Moves every port that the service binds by the difference to 7700, for a second service on one machine; an outbox
    at its default path is called after it. ``earmark run --port-base`` sets it too."""
    streamer: StreamerConfig = Field(default_factory=StreamerConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)
    outbox: OutboxConfig = Field(default_factory=OutboxConfig)
    publishers: PublishersConfig = Field(default_factory=PublishersConfig)
    telemetry: TelemetryConfig = Field(default_factory=TelemetryConfig)
    supervisor: SupervisorConfig = Field(default_factory=SupervisorConfig)

    @property
    def sources(self) -> dict[str, Stream]:
        """The streams as the streamer sees them, without what only engine and publishers want to know."""
        others: dict[str, object] = {"labels": {}, "clips": False, "zone": None, "spectrogram": None}
        return {name: stream.model_copy(update=others) for name, stream in self.streams.items()}

    @property
    def zones(self) -> dict[str, tuple[str, ...]]:
        """The streams of each zone."""
        named = sorted({stream.zone for stream in self.streams.values() if stream.zone is not None})
        return {zone: tuple(name for name, stream in self.streams.items() if stream.zone == zone) for zone in named}

    @property
    def overrides(self) -> dict[str, dict[str, SmoothingOverride]]:
        """What streams change of the bundle's smoothing, by stream and label."""
        return {name: stream.labels for name, stream in self.streams.items() if stream.labels}

    @property
    def default_spectrogram(self) -> Detail:
        """What the page shows of a stream that says nothing of it and has no clips."""
        http = self.publishers.http
        return "full" if http is None or http.is_for_this_machine else "coarse"

    @property
    def spectrograms(self) -> dict[str, Detail]:
        """What the page shows of each stream's sound."""
        return {
            name: stream.spectrogram or ("full" if stream.clips else self.default_spectrogram)
            for name, stream in self.streams.items()
        }

    @property
    def clips(self) -> tuple[str, ...]:
        """Streams the sound of whose events may be stored."""
        return tuple(name for name, stream in self.streams.items() if stream.clips)
