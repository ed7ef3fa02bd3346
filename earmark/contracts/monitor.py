"""What engines show of their streams, each only while somebody asks for it.

That is a status of each every second, frames of single ones and the onsets that the judge refused in them, the scores
of all, and the audio of those that allow it.
It is lossy, so nothing may rest on it but what is true for a moment: pictures, levels, states.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from earmark.contracts.errors import WireError
from earmark.contracts.streams import Pcm

STATUS_TOPIC = b"/status"
FRAMES_PREFIX = b"/frames/"
"""Followed by the stream's name and a slash."""
_Count = Annotated[int, Field(ge=0)]
SCORES_TOPIC = b"/scores"
AUDIO_PREFIX = b"/audio/"
"""Followed by the stream's name and a slash."""
REFUSED_PREFIX = b"/refused/"
"""Followed by the stream's name and a slash."""


class StreamStatus(BaseModel):
    """How a stream is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stream: str = Field(description="Name of the stream.")
    up: bool = Field(description="Whether audio of it arrived in the last 5 s.")
    coverage: float = Field(ge=0, le=1, description="Share of the last `coverage_s` that was really analysed.")
    coverage_s: float = Field(
        default=3600.0, ge=0, le=3600, description="What `coverage` is a share of: an hour, or less of a new stream."
    )
    level_db: float | None = Field(description="RMS over the last second, dBFS; null for digital silence or no audio.")
    lag_s: float = Field(ge=0, description="Audio that its streamer holds and the engine has not analysed, seconds.")


class RefusedCandidate(BaseModel):
    """A sound that the engine's network heard and the judge did not confirm; sent again for each further refusal."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stream: str = Field(description="Name of the stream.")
    epoch: str = Field(description="Run of its streamer, 16 hexadecimal digits.")
    label: str = Field(description="Label of the sound, or a group.")
    onset_ns: int = Field(description="UTC of its begin, nanoseconds since 1970.")
    until_ns: int = Field(description="UTC of the end of what the judge heard, likewise.")
    score: float = Field(ge=0, le=1, description="The judge's score of the label.")

    @property
    def topic(self) -> bytes:
        """What a subscriber to it asks for."""
        return refused_topic(self.stream)


@dataclass(frozen=True, eq=False)
class Frames:
    """A stretch of a stream as the model sees and scores it.

    Attributes:
        stream: Name of the stream.
        epoch: Run of its streamer, 16 hexadecimal digits.
        first_sample: First sample of the first frame.
        first_ns: UTC of that sample, nanoseconds since 1970.
        hop: Samples from one score to the next.
        sample_rate_hz: Rate of the samples.
        level_db: float32 ``[T]``, RMS of each hop in dBFS, -120 at least.
        features: float32 ``[T * K, n_mels]``, K feature frames a score: natural logarithm of power.
        scores: float32 ``[T, C]`` in [0, 1].
    """

    stream: str
    epoch: str
    first_sample: int
    first_ns: int
    hop: int
    sample_rate_hz: int
    level_db: NDArray[np.float32]
    features: NDArray[np.float32]
    scores: NDArray[np.float32]

    @property
    def topic(self) -> bytes:
        """What a subscriber to it asks for."""
        return frames_topic(self.stream)


@dataclass(frozen=True, eq=False)
class StepScores:
    """What one step of an engine scored.

    Attributes:
        streams: Names of its B streams.
        epochs: Runs of their streamers, 16 hexadecimal digits each.
        first_samples: First sample of each one's first frame.
        hop: Samples from one score to the next.
        sample_rate_hz: Rate of the samples.
        scores: float32 ``[B, T, C]`` in [0, 1].
    """

    streams: tuple[str, ...]
    epochs: tuple[str, ...]
    first_samples: tuple[int, ...]
    hop: int
    sample_rate_hz: int
    scores: NDArray[np.float32]

    topic = SCORES_TOPIC


@dataclass(frozen=True, eq=False)
class StepAudio:
    """The audio of one stream that a step of an engine scored.

    Attributes:
        stream: Name of the stream.
        epoch: Run of its streamer, 16 hexadecimal digits.
        first_sample: Index of ``pcm[0]``.
        pcm: int16 ``[n]``.
    """

    stream: str
    epoch: str
    first_sample: int
    pcm: Pcm

    @property
    def topic(self) -> bytes:
        """What a subscriber to it asks for."""
        return audio_topic(self.stream)


class _Header(BaseModel):
    """What a message of frames says before its arrays."""

    stream: str
    epoch: str
    first_sample: _Count
    first_ns: int
    hop: int = Field(gt=0)
    sample_rate_hz: int = Field(gt=0)
    shapes: tuple[tuple[_Count], tuple[_Count, _Count], tuple[_Count, _Count]]


class _ScoresHeader(BaseModel):
    """What a message of scores says before its array."""

    streams: tuple[str, ...]
    epochs: tuple[str, ...]
    first_samples: tuple[_Count, ...]
    hop: int = Field(gt=0)
    sample_rate_hz: int = Field(gt=0)
    shape: tuple[_Count, _Count, _Count]


class _AudioHeader(BaseModel):
    """What a message of audio says before its PCM."""

    stream: str
    epoch: str
    first_sample: _Count


Statuses: TypeAlias = tuple[StreamStatus, ...]
MonitorMessage: TypeAlias = Statuses | RefusedCandidate | Frames | StepScores | StepAudio
_STATUSES: TypeAdapter[Statuses] = TypeAdapter(Statuses)
_ARRAYS = ("level_db", "features", "scores")


def frames_topic(stream: str) -> bytes:
    """What a subscriber to a stream's frames asks for."""
    return FRAMES_PREFIX + stream.encode() + b"/"


def audio_topic(stream: str) -> bytes:
    """What a subscriber to a stream's audio asks for."""
    return AUDIO_PREFIX + stream.encode() + b"/"


def refused_topic(stream: str) -> bytes:
    """What a subscriber to a stream's refused candidates asks for."""
    return REFUSED_PREFIX + stream.encode() + b"/"


def encode_statuses(statuses: Sequence[StreamStatus]) -> list[bytes]:
    """One message of two parts."""
    return [STATUS_TOPIC, _STATUSES.dump_json(tuple(statuses))]


def encode_refused(refused: RefusedCandidate) -> list[bytes]:
    """One message of two parts."""
    return [refused.topic, refused.model_dump_json().encode()]


def encode_frames(frames: Frames) -> list[bytes]:
    """One message of five parts: topic, JSON, and the arrays as float16."""
    shapes = [getattr(frames, name).shape for name in _ARRAYS]
    header = _Header.model_validate({**vars(frames), "shapes": shapes}).model_dump_json()
    arrays = [getattr(frames, name).astype("<f2").tobytes() for name in _ARRAYS]
    return [frames_topic(frames.stream), header.encode(), *arrays]


def encode_scores(step: StepScores) -> list[bytes]:
    """One message of three parts: topic, JSON, and the scores as float16."""
    header = _ScoresHeader.model_validate({**vars(step), "shape": step.scores.shape}).model_dump_json()
    return [SCORES_TOPIC, header.encode(), step.scores.astype("<f2").tobytes()]


def encode_audio(audio: StepAudio) -> list[bytes]:
    """One message of three parts: topic, JSON, and the PCM."""
    header = _AudioHeader.model_validate(vars(audio)).model_dump_json()
    return [audio.topic, header.encode(), audio.pcm.astype("<i2").tobytes()]


def decode_monitor(parts: Sequence[bytes]) -> MonitorMessage:
    """What a message says.

    Raises:
        WireError: It is none of ours.
    """
    try:
        if parts[0] == STATUS_TOPIC:
            return _STATUSES.validate_json(parts[1])
        if parts[0].startswith(REFUSED_PREFIX):
            return RefusedCandidate.model_validate_json(parts[1])
        _, said, *arrays = parts
        if parts[0] == SCORES_TOPIC:
            return _scores_of(_ScoresHeader.model_validate_json(said), *arrays)
        if parts[0].startswith(AUDIO_PREFIX):
            (pcm,) = arrays
            return StepAudio(**_AudioHeader.model_validate_json(said).model_dump(), pcm=np.frombuffer(pcm, "<i2"))
        header = _Header.model_validate_json(said)
        level_db, features, scores = (
            np.frombuffer(part, "<f2").astype(np.float32).reshape(shape)
            for part, shape in zip(arrays, header.shapes, strict=True)
        )
        _check_lengths(len(level_db), len(features), len(scores))
        return Frames(**header.model_dump(exclude={"shapes"}), level_db=level_db, features=features, scores=scores)
    except (ValidationError, ValueError, IndexError) as error:
        raise WireError(
            "monitor",
            "expected a status, a refused candidate, frames, scores or audio, got a message of "
            f"{len(parts)} parts: {error}",
        ) from error


def _check_lengths(n_levels: int, n_features: int, n_scores: int) -> None:
    if n_levels != n_scores or (n_features % n_scores if n_scores else n_features):
        raise ValueError(f"{n_levels} levels, {n_features} features and {n_scores} scores do not go together")


def _scores_of(header: _ScoresHeader, scores: bytes) -> StepScores:
    n_streams = header.shape[0]
    if not len(header.streams) == len(header.epochs) == len(header.first_samples) == n_streams:
        raise ValueError(f"{len(header.streams)} streams, {n_streams} rows of scores")
    array = np.frombuffer(scores, "<f2").astype(np.float32).reshape(header.shape)
    return StepScores(**header.model_dump(exclude={"shape"}), scores=array)
