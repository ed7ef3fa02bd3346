"""The files of events: ``FOLDER/STREAM/DATE/EVENTID.json`` with the scores, and ``.wav`` beside it with the sound.

Whoever reads sees whole files or none: they are written under another name, and renamed.
"""

import os
import re
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from io import BufferedWriter
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from earmark.contracts.errors import ConfigError
from earmark.contracts.events import SoundEvent
from earmark.contracts.streams import STREAM_NAME, Pcm
from earmark.telemetry import metrics

PIECE = 100
"""Files that one call of `ClipFiles.prune` deletes at most."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_FILE = re.compile(r"[0-9a-f]{32}\.(json|wav)")
_UNFINISHED = re.compile(r"[0-9a-f]{32}\.(json|wav)\.part")

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
        self._bytes: dict[Path, int] = {}

    def path(self, event: SoundEvent, suffix: Suffix) -> Path:
        """Where an event's file is, or would be.

        Raises:
            ConfigError: Its stream or its id are no name for a file.
        """
        name = f"{event.event_id}.{suffix}"
        if not STREAM_NAME.fullmatch(event.stream) or not _FILE.fullmatch(name):
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

    def begin(self) -> None:
        """Take stock, and delete what a killed process had not finished.

        Raises:
            OSError: The folder went away.
        """
        self._bytes = {day: self._measure(day) for day in self._days()}
        self._tell()

    def _days(self) -> Iterator[Path]:
        for stream in _folders(self._folder, STREAM_NAME):
            yield from _folders(stream, _DATE)

    @staticmethod
    def _measure(day: Path) -> int:
        size = 0
        for entry in os.scandir(day):
            if _UNFINISHED.fullmatch(entry.name):
                Path(entry.path).unlink(missing_ok=True)
            elif _FILE.fullmatch(entry.name):
                size += entry.stat(follow_symlinks=False).st_size
        return size

    def store(self, event: SoundEvent, scores: EventScores, pcm: Pcm | None) -> None:
        """Write an event's files.

        Raises:
            OSError: There is no room, or the folder went away.
        """
        if pcm is not None:
            self._write(self.path(event, "wav"), lambda file: _write_wav(file, pcm, scores.sample_rate_hz))
        text = scores.model_dump_json().encode()
        self._write(self.path(event, "json"), lambda file: file.write(text))
        self._tell()

    def _write(self, path: Path, fill: Callable[[BufferedWriter], object]) -> None:
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
        self._bytes[path.parent] = self._bytes.get(path.parent, 0) + size

    def prune(self, oldest_s: float, most_bytes: int) -> int:
        """Delete files that were written before ``oldest_s`` (UTC) and, the oldest day first, what is too much.

        Returns:
            How many; `PIECE` at most, and then there may be more.
        """
        n_deleted, today = 0, _date_of(time.time())
        for day in sorted(self._bytes, key=lambda day: (day.name, day.parent.name)):
            if n_deleted == PIECE:
                break
            # A day is its streamer's; one that is still to come says nothing of when its files were written.
            if self._size <= most_bytes and _date_of(oldest_s) < day.name <= today:
                continue
            n_deleted += self._prune_day(day, oldest_s, most_bytes, PIECE - n_deleted)
        metrics.CLIP_FILES_DELETED.inc(n_deleted)
        self._tell()
        return n_deleted

    def _prune_day(self, day: Path, oldest_s: float, most_bytes: int, most_files: int) -> int:
        files = sorted(_listed(day))
        self._bytes[day] = sum(size for _, size, _ in files)
        n_deleted = 0
        for written_s, size, path in files[:most_files]:
            if written_s >= oldest_s and self._size <= most_bytes:
                break
            path.unlink(missing_ok=True)
            self._bytes[day] -= size
            n_deleted += 1
        if n_deleted == len(files):
            del self._bytes[day]
            with suppress(OSError):
                day.rmdir()
                day.parent.rmdir()
        return n_deleted

    @property
    def _size(self) -> int:
        return sum(self._bytes.values())

    def _tell(self) -> None:
        metrics.CLIP_BYTES.set(self._size)


def _listed(day: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file was written, its bytes, and where it is."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(day):
            if _FILE.fullmatch(entry.name):
                stat = entry.stat(follow_symlinks=False)
                yield stat.st_mtime, stat.st_size, Path(entry.path)


def _folders(folder: Path, name: re.Pattern[str]) -> Iterator[Path]:
    for entry in os.scandir(folder):
        if name.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)


def _date_of(utc_s: float) -> str:
    return datetime.fromtimestamp(utc_s, UTC).date().isoformat()


def _write_wav(file: BufferedWriter, pcm: Pcm, sample_rate_hz: int) -> None:
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(sample_rate_hz)
        sound.writeframes(pcm.astype("<i2").tobytes())
