"""What engines show of their streams: a status of each every second, and frames of those that somebody looks at.

It is lossy, so nothing may rest on it but what is true for a moment: pictures, levels, states.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from earmark.contracts.errors import WireError

STATUS_TOPIC = b"/status"
FRAMES_PREFIX = b"/frames/"
"""Followed by the stream's name and a slash."""
_Length = Annotated[int, Field(ge=0)]


class StreamStatus(BaseModel):
    """How a stream is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stream: str = Field(description="Name of the stream.")
    up: bool = Field(description="Whether audio of it arrived in the last 5 s.")
    coverage: float = Field(ge=0, le=1, description="Share of the last hour that was really analysed.")
    level_db: float | None = Field(description="RMS over the last second, dBFS; null for digital silence or no audio.")
    lag_s: float = Field(ge=0, description="Audio that its streamer holds and the engine has not analysed, seconds.")


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


class _Header(BaseModel):
    """What a message of frames says before its arrays."""

    stream: str
    epoch: str
    first_sample: int = Field(ge=0)
    first_ns: int
    hop: int = Field(gt=0)
    sample_rate_hz: int = Field(gt=0)
    shapes: tuple[tuple[_Length], tuple[_Length, _Length], tuple[_Length, _Length]]


Statuses: TypeAlias = tuple[StreamStatus, ...]
_STATUSES: TypeAdapter[Statuses] = TypeAdapter(Statuses)
_ARRAYS = ("level_db", "features", "scores")


def frames_topic(stream: str) -> bytes:
    """What a subscriber to a stream's frames asks for."""
    return FRAMES_PREFIX + stream.encode() + b"/"


def encode_statuses(statuses: Sequence[StreamStatus]) -> list[bytes]:
    """One message of two parts."""
    return [STATUS_TOPIC, _STATUSES.dump_json(tuple(statuses))]


def encode_frames(frames: Frames) -> list[bytes]:
    """One message of five parts: topic, JSON, and the arrays as float16."""
    shapes = [getattr(frames, name).shape for name in _ARRAYS]
    header = _Header.model_validate({**vars(frames), "shapes": shapes}).model_dump_json()
    arrays = [getattr(frames, name).astype("<f2").tobytes() for name in _ARRAYS]
    return [frames_topic(frames.stream), header.encode(), *arrays]


def decode_monitor(parts: Sequence[bytes]) -> Statuses | Frames:
    """What a message says.

    Raises:
        WireError: It is none of ours.
    """
    try:
        if parts[0] == STATUS_TOPIC:
            return _STATUSES.validate_json(parts[1])
        _, said, *arrays = parts
        header = _Header.model_validate_json(said)
        level_db, features, scores = (
            np.frombuffer(part, "<f2").astype(np.float32).reshape(shape)
            for part, shape in zip(arrays, header.shapes, strict=True)
        )
        _check_lengths(len(level_db), len(features), len(scores))
        return Frames(**header.model_dump(exclude={"shapes"}), level_db=level_db, features=features, scores=scores)
    except (ValidationError, ValueError, IndexError) as error:
        raise WireError(
            "monitor", f"expected a status or frames, got a message of {len(parts)} parts: {error}"
        ) from error


def _check_lengths(n_levels: int, n_features: int, n_scores: int) -> None:
    if n_levels != n_scores or (n_features % n_scores if n_scores else n_features):
        raise ValueError(f"{n_levels} levels, {n_features} features and {n_scores} scores do not go together")
