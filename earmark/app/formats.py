"""Events as text: for people, for programs, for the field's tables, for Audacity."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeAlias

from earmark.app.choices import FileFormat
from earmark.contracts.events import SoundEvent

FileRow: TypeAlias = Callable[[Path, SoundEvent], str]

HEADERS = {
    FileFormat.TSV: "filename\tonset\toffset\tevent_label",
    FileFormat.CSV: "filename,onset_s,offset_s,label,score_peak,score_mean,onset_time",
    FileFormat.RAVEN: "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t"
    "Annotation\tScore",
}
"""First lines of those formats that have one."""
NAMELESS = (FileFormat.AUDACITY, FileFormat.RAVEN)
"""Formats whose lines do not name their file."""


def extent_s(event: SoundEvent) -> tuple[float, float]:
    """Onset and offset in seconds from the start of the epoch; both the onset while the event lasts."""
    offset = event.onset_sample if event.offset_sample is None else event.offset_sample
    return event.onset_sample / event.sample_rate_hz, offset / event.sample_rate_hz


def file_row(kind: FileFormat, paths: Mapping[Path, str]) -> FileRow:
    """What makes a line of an ended event in one of ``paths``, which a table calls by the names given."""
    widest = _widest(paths)

    def text(path: Path, event: SoundEvent) -> str:
        onset_s, offset_s = extent_s(event)
        return f"{path!s:<{widest}}  {onset_s:8.2f} s - {offset_s:8.2f} s  {event.label:<18} {event.score_peak:.2f}"

    rows: dict[FileFormat, FileRow] = {
        FileFormat.TEXT: text,
        FileFormat.JSONL: _jsonl,
        FileFormat.TSV: lambda path, event: _tsv(paths[path], event),
        FileFormat.CSV: _csv,
        FileFormat.RAVEN: _raven(),
        FileFormat.AUDACITY: _audacity,
    }
    return rows[kind]


def nothing_row(path: Path, paths: Collection[Path]) -> str:
    """The line for people of a file, one of ``paths``, without events."""
    return f"{path!s:<{_widest(paths)}}  nothing heard"


def _widest(paths: Collection[Path]) -> int:
    return max((len(str(path)) for path in paths), default=0)


def _jsonl(path: Path, event: SoundEvent) -> str:
    onset_s, offset_s = (round(at_s, 3) for at_s in extent_s(event))
    return json.dumps(
        {"filename": str(path), "onset_s": onset_s, "offset_s": offset_s, **event.model_dump(mode="json")}
    )


def _tsv(name: str, event: SoundEvent) -> str:
    onset_s, offset_s = extent_s(event)
    return f"{name}\t{onset_s:.3f}\t{offset_s:.3f}\t{event.label}"


def _csv(path: Path, event: SoundEvent) -> str:
    onset_s, offset_s = extent_s(event)
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(
        [
            path,
            f"{onset_s:.3f}",
            f"{offset_s:.3f}",
            event.label,
            f"{event.score_peak:.4f}",
            f"{event.score_mean:.4f}",
            event.onset_time.isoformat(),
        ]
    )
    return line.getvalue()


def _raven() -> FileRow:
    """Lines of a selection table: over the whole band, numbered from 1."""
    numbers = itertools.count(1)

    def raven(_path: Path, event: SoundEvent) -> str:
        onset_s, offset_s = extent_s(event)
        band = f"0\t{event.sample_rate_hz // 2}"
        score = f"{event.score_peak:.4f}"
        return f"{next(numbers)}\tSpectrogram 1\t1\t{onset_s:.6f}\t{offset_s:.6f}\t{band}\t{event.label}\t{score}"

    return raven


def _audacity(_path: Path, event: SoundEvent) -> str:
    onset_s, offset_s = extent_s(event)
    return f"{onset_s:.6f}\t{offset_s:.6f}\t{event.label}"


def live_row(event: SoundEvent) -> str:
    """One phase of an event as a line for people, in local time."""
    at = event.onset_time if event.offset_time is None else event.offset_time
    when = f"{at.astimezone():%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"
    return f"{when}  {event.stream:<12}  {event.label:<18}  {describe(event)}"


def describe(event: SoundEvent) -> str:
    """``begins``, or how it ended; of a zone's event, who heard it."""
    by = f"  heard by {', '.join(event.heard_by)}" if event.heard_by else ""
    if event.offset_sample is None:
        return f"begins             score {event.score_peak:.2f}{by}"
    onset_s, offset_s = extent_s(event)
    why = f"  ({event.reason})" if event.reason else ""
    return f"ends after {offset_s - onset_s:5.2f} s  peak  {event.score_peak:.2f}{why}{by}"
