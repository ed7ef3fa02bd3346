"""The files of events: ``FOLDER/STREAM/DATE/EVENTID.json`` with the scores, and ``.wav`` beside it with the sound.

Whoever reads sees whole files or none: they are written under another name, and renamed.
"""

import os
import re
import wave
from collections.abc import Callable
from datetime import UTC, datetime
from io import BufferedWriter
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from earmark.contracts.errors import ConfigError
from earmark.contracts.events import SoundEvent
from earmark.contracts.streams import STREAM_NAME, Pcm
from publishers.clips.index import ClipFile

DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
FILE = re.compile(r"[0-9a-f]{32}\.(json|wav)")
UNFINISHED = re.compile(r"[0-9a-f]{32}\.(json|wav)\.part")

NoClip: TypeAlias = Literal["not_allowed", "forbidden", "unscored", "gone"]
Suffix: TypeAlias = Literal["json", "wav"]


class Clip(BaseModel):
    """Where a clip lies on the stream's sample clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_sample: int = Field(ge=0, description="First sample of the clip, from the start of the epoch.")
    n_samples: int = Field(gt=0, description="Its length.")
    missing_samples: int = Field(ge=0, description="Of these, silence in the place of audio that did not come.")


class EventScores(BaseModel):
    """The scores around an event, and what became of its clip."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: str = Field(description="The event's.")
    stream: str = Field(description="Name of the stream.")
    epoch: str = Field(description="Run of the stream's streamer, 16 hexadecimal digits.")
    first_sample: int = Field(ge=0, description="First sample of the first frame, from the start of the epoch.")
    first_time: datetime = Field(description="UTC of that sample.")
    hop: int = Field(gt=0, description="Samples from one frame to the next.")
    sample_rate_hz: int = Field(gt=0, description="Rate of the samples.")
    labels: tuple[str, ...] = Field(
        description="The event's own label first, unless it is a group's; then the loudest."
    )
    scores: tuple[tuple[float | None, ...], ...] = Field(
        description="Of each label, a score a frame, at the time that it tells of; null where none came."
    )
    clip: Clip | None = Field(description="The clip that was stored.")
    no_clip: NoClip | None = Field(
        description="Why none was: the stream does not allow it, a forbidden label may be heard in it, nobody knows "
        "whether one is, or the audio was gone."
    )


class ClipFiles:
    """The files below a folder. One process writes them, in one thread; any may read.

    Args:
        folder: Where they are; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.expanduser()

    def path(self, event: SoundEvent, suffix: Suffix) -> Path:
        """Where an event's file is, or would be.

        Raises:
            ConfigError: Its stream or its id are no name for a file.
        """
        name = f"{event.event_id}.{suffix}"
        if not STREAM_NAME.fullmatch(event.stream) or not FILE.fullmatch(name):
            raise ConfigError(f"expected an event's stream and id, got {event.stream!r} and {event.event_id!r}")
        return self._folder / event.stream / _date_of(event.onset_time.timestamp()) / name

    def has(self, event: SoundEvent) -> bool:
        """Whether there is anything of an event."""
        return self.path(event, "json").is_file() or self.path(event, "wav").is_file()

    def check(self) -> None:
        """Make the folder, if there is none.

        Raises:
            ConfigError: It cannot be used.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.scandir(self._folder).close()
        except OSError as error:
            raise ConfigError(
                f"publishers.clips.folder: expected to write {self._folder}, got: {error.strerror}"
            ) from error

    def store(self, event: SoundEvent, scores: EventScores, pcm: Pcm | None) -> list[ClipFile]:
        """Write an event's files.

        Returns:
            What was written.

        Raises:
            OSError: There is no room, or the folder went away.
        """
        written = list[ClipFile]()
        if pcm is not None:
            wav = self.path(event, "wav")
            written.append(self._write(wav, lambda file: _write_wav(file, pcm, scores.sample_rate_hz)))
        text = scores.model_dump_json().encode()
        written.append(self._write(self.path(event, "json"), lambda file: file.write(text)))
        return written

    def _write(self, path: Path, fill: Callable[[BufferedWriter], object]) -> ClipFile:
        path.parent.parent.mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.part")
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return ClipFile(str(path.relative_to(self._folder)), size)


def _date_of(utc_s: float) -> str:
    return datetime.fromtimestamp(utc_s, UTC).date().isoformat()


def _write_wav(file: BufferedWriter, pcm: Pcm, sample_rate_hz: int) -> None:
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(sample_rate_hz)
        sound.writeframes(pcm.astype("<i2").tobytes())
