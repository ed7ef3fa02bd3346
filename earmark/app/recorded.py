"""When a file was recorded: told by hand, by its name, or by the file itself."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
from av.error import FFmpegError

from earmark.contracts.errors import ConfigError
from earmark.contracts.events import SoundEvent

FROM_NAME, FROM_FILE = "from-name", "from-file"
_NAMES: tuple[tuple[re.Pattern[str], str, bool], ...] = (
    # BirdNET-Pi, in local time: 2026-02-24-birdnet-16:19:37.wav
    (re.compile(r"(\d{4}-\d{2}-\d{2})-birdnet-(?:.+-)?(\d{2}:\d{2}:\d{2})"), "%Y-%m-%d %H:%M:%S", False),
    # AudioMoth, in UTC: 20260224_161937.WAV, or with the device before it
    (re.compile(r"(?:^|_)(\d{8})_(\d{6})T?(?=$|\.|_)"), "%Y%m%d %H%M%S", True),
)
_OLD_AUDIOMOTH = re.compile(r"[0-9A-F]{8}")
"""Seconds since 1970 in hexadecimal: 5E4F8A2B.WAV."""


def reader_of(recorded_at: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> "RecordedAt":
    """What tells when files were recorded.

    Args:
        recorded_at: A time in ISO 8601, in local time if it names no zone; `FROM_NAME` or `FROM_FILE`; None: files
            end now.
        now: UTC.

    Raises:
        ConfigError: It is none of these, or in the future.
    """
    if recorded_at in (None, FROM_NAME, FROM_FILE):
        return RecordedAt(recorded_at, None, now)
    try:
        time = datetime.fromisoformat(recorded_at).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"--recorded-at: expected a time like 2026-11-21T13:00:00+01:00, {FROM_NAME} or {FROM_FILE}, "
            f"got {recorded_at!r}"
        ) from error
    if time > now():
        raise ConfigError(f"--recorded-at: expected a time in the past, got {recorded_at!r}")
    return RecordedAt(None, time, now)


class RecordedAt:
    """Dates the events of files. See `reader_of`."""

    def __init__(self, source: str | None, time: datetime | None, now: Callable[[], datetime]) -> None:
        self._source = source
        self._time = time
        self._now = now

    def check(self, paths: Iterable[Path]) -> None:
        """Look whether files and their names can tell when they were recorded, where they should.

        Raises:
            ConfigError: The first that cannot.
        """
        for path in paths:
            if self._source == FROM_NAME:
                _from_name(path)
            elif self._source == FROM_FILE and not path.is_file():
                raise ConfigError(
                    f"--recorded-at {FROM_FILE}: expected a file, got {path}, which has no time of its own; "
                    "give the time itself"
                )

    def begin_of(self, path: Path, duration_s: float) -> datetime:
        """UTC of a file's first sample; never so late that its last one is in the future.

        Raises:
            ConfigError: Its name tells no time.
        """
        latest = self._now() - timedelta(seconds=duration_s)
        match self._source:
            case "from-name":  # `FROM_NAME`
                begin = _from_name(path)
            case "from-file":  # `FROM_FILE`
                begin = _from_file(path, duration_s)
            case _:
                begin = self._time or latest
        return min(begin, latest)

    def dated(self, event: SoundEvent, begin: datetime) -> SoundEvent:
        """The event with the times that it has where its file began at ``begin``."""
        offset = event.offset_sample
        return event.model_copy(
            update={
                "onset_time": begin + timedelta(seconds=event.onset_sample / event.sample_rate_hz),
                "offset_time": None if offset is None else begin + timedelta(seconds=offset / event.sample_rate_hz),
            }
        )


def _from_name(path: Path) -> datetime:
    for pattern, form, is_utc in _NAMES:
        if (match := pattern.search(path.stem)) is not None:
            try:
                local = datetime.strptime(" ".join(match.groups()), form)  # noqa: DTZ007 -- gets its zone below
            except ValueError:
                continue
            return local.replace(tzinfo=UTC) if is_utc else local.astimezone(UTC)
    if _OLD_AUDIOMOTH.fullmatch(path.stem):
        return datetime.fromtimestamp(int(path.stem, 16), UTC)
    raise ConfigError(
        f"--recorded-at {FROM_NAME}: expected a name with a time, as BirdNET-Pi (2026-02-24-birdnet-16:19:37.wav) or "
        f"AudioMoth (20260224_161937.WAV) give, got {path.name!r}; give the time itself, or {FROM_FILE}"
    )


def _from_file(path: Path, duration_s: float) -> datetime:
    """What its header says (``bext`` or a creation time), else its time stamp, at which its recording ended."""
    try:
        with av.open(str(path.absolute())) as container:
            tags = dict(container.metadata)
    except (FFmpegError, OSError):
        tags = {}
    return _from_tags(tags) or datetime.fromtimestamp(path.stat().st_mtime, UTC) - timedelta(seconds=duration_s)


def _from_tags(tags: dict[str, str]) -> datetime | None:
    day, time = tags.get("date", ""), tags.get("creation_time", "")
    for text in (f"{day[:10]}T{time[:8]}", time):
        try:
            return datetime.fromisoformat(text.replace("_", "-")).astimezone(UTC)
        except ValueError:
            continue
    return None
