"""What is true of audio files: events with onset and offset, in the table format of DCASE and DESED, and clips."""

import csv
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from earmark.contracts.errors import ConfigError

TRUTH_FILE = "truth.tsv"
"""What the table of a folder's events is called."""
IGNORED_FILE = "ignored.tsv"
"""The table of its ignored extents, see `earmark.evaluation.ignoring`; a folder may have none."""
COLUMNS = ("filename", "onset", "offset", "event_label")
_CLIP_COLUMNS = ("file", "kind", "split", "label")
_TOLERANCE_S = 0.1
"""Events may end this much after their file's end without a warning: annotators' programs round."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, order=True)
class LabelledEvent:
    """A class over the half-open interval [``onset_s``, ``offset_s``), seconds from the begin of its file."""

    onset_s: float
    offset_s: float
    label: str


Annotations = dict[str, list[LabelledEvent]]
"""Events by file name; a file without events has an empty list."""


@dataclass(frozen=True)
class LabelledClip:
    """A file that is an example of one class."""

    file: str
    label: str


def read_tsv(path: Path) -> Annotations:
    """Read a table of events: tab-separated ``filename onset offset event_label`` under a header of these names.

    A file without events is a row whose other columns are empty. Other columns are not read. Events of no length are
    left out with a warning: nothing can be found in them.

    Returns:
        Files in their order, each one's events by onset.

    Raises:
        ConfigError: The table cannot be read, or a row makes no sense; names file and line.
    """
    if not path.exists():
        raise ConfigError(
            f"{path}: expected a table of what sounds in the files beside it, got: No such file; write one, "
            f"tab-separated, with a header {', '.join(COLUMNS)} and a row for each event (docs/training-data.md)"
        )
    found: dict[str, list[LabelledEvent]] = {}
    quiet: set[str] = set()
    for where, row in table_rows(path, "\t", COLUMNS):
        name, fields = row["filename"], [row[column] for column in COLUMNS[1:]]
        if not name:
            raise ConfigError(f"{where}: expected a filename, got an empty column; name the audio file")
        events = found.setdefault(name, [])
        if any(fields):
            event = _event(where, *fields)
            if event.onset_s < event.offset_s:
                events.append(event)
            else:
                _log.warning("an event of no length is left out", row=where, file=name, label=event.label)
        else:
            quiet.add(name)
        if events and name in quiet:
            raise ConfigError(
                f"{where}: expected {name!r} to have events or an empty row, got both; remove its empty row"
            )
    return {name: sorted(events) for name, events in found.items()}


def inside_files(annotations: Mapping[str, Sequence[LabelledEvent]], durations_s: Mapping[str, float]) -> Annotations:
    """Cut events at the end of their file, with one warning for all that end more than 0.1 s after it.

    Args:
        annotations: Events by file name.
        durations_s: How long each file is.

    Raises:
        ConfigError: An event begins after the end of its file, and so can never be found.
    """
    cut: list[tuple[str, LabelledEvent]] = []
    found: Annotations = {}
    for name, events in annotations.items():
        end_s = durations_s[name]
        for event in events:
            if event.onset_s >= end_s:
                raise ConfigError(
                    f"expected events inside {name!r}, which is {end_s:.3f} s long, got {event.label!r} "
                    f"at {event.onset_s:.3f} s; is it the right file?"
                )
        cut += [(name, event) for event in events if event.offset_s > end_s + _TOLERANCE_S]
        found[name] = [replace(event, offset_s=min(event.offset_s, end_s)) for event in events]
    if cut:
        name, event = cut[0]
        _log.warning(
            "events end after their files and are cut there",
            events=len(cut),
            file=name,
            label=event.label,
            offset_s=event.offset_s,
            duration_s=round(durations_s[name], 3),
        )
    return found


def read_ignored(folder: Path, files: Collection[str]) -> Annotations:
    """Read the ignored extents beside a folder's true events; nothing where the folder has no `IGNORED_FILE`.

    Args:
        folder: With the table, which has the format of `read_tsv`.
        files: The files that the folder's events are about.

    Raises:
        ConfigError: The table cannot be read, or names another file.
    """
    path = folder / IGNORED_FILE
    if not path.exists():
        return {}
    ignored = read_tsv(path)
    if unknown := [name for name in ignored if name not in files]:
        raise ConfigError(
            f"{path}: expected only files that {TRUTH_FILE} names, got {unknown[0]!r} ({len(unknown)} in all); "
            f"correct the name, or add the file to {TRUTH_FILE}"
        )
    return ignored


def write_tsv(path: Path, annotations: Mapping[str, Sequence[LabelledEvent]]) -> None:
    """Write a table that `read_tsv` reads, onsets and offsets to the microsecond. Replaces the file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, events in annotations.items():
            writer.writerows([name, *_fields(event)] for event in sorted(events))
            if not events:
                writer.writerow([name, "", "", ""])


def read_clips(path: Path, split: str) -> list[LabelledClip]:
    """Read the clips of a split from an ``index.csv``: its rows of kind ``event``, in their order.

    Raises:
        ConfigError: The table cannot be read, names a clip twice, or has no such clip.
    """
    labels: dict[str, str] = {}
    for where, row in table_rows(path, ",", _CLIP_COLUMNS):
        if row["kind"] != "event" or row["split"] != split:
            continue
        if not row["file"] or not row["label"]:
            raise ConfigError(f"{where}: expected a file and its label, got {row['file']!r} and {row['label']!r}")
        if row["file"] in labels:
            raise ConfigError(f"{where}: expected each clip once, got {row['file']!r} again; remove a row")
        labels[row["file"]] = row["label"]
    if not labels:
        raise ConfigError(
            f"{path}: expected rows of kind 'event' and split {split!r}, got none; give another index or --split"
        )
    return [LabelledClip(file, label) for file, label in labels.items()]


def labels_of(annotations: Mapping[str, Iterable[LabelledEvent]]) -> set[str]:
    """Every label that has an event."""
    return {event.label for events in annotations.values() for event in events}


def table_rows(path: Path, delimiter: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of a table with the file and line that it stands in; the table has at least these columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            header = reader.fieldnames or ()
            if missing := [column for column in columns if column not in header]:
                raise ConfigError(
                    f"{path}:1: expected a header with {', '.join(columns)}, got {list(header)}; "
                    f"add {', '.join(missing)}"
                )
            for row in reader:
                yield f"{path}:{reader.line_num}", {column: (row[column] or "").strip() for column in columns}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: expected a readable table, got: {error}") from error


def _event(where: str, onset: str, offset: str, label: str) -> LabelledEvent:
    onset_s, offset_s = _seconds(where, "onset", onset), _seconds(where, "offset", offset)
    if onset_s > offset_s:
        raise ConfigError(f"{where}: expected an onset before the offset, got {onset} and {offset}")
    if not label:
        raise ConfigError(f"{where}: expected an event_label, got an empty column; a file without events has no onset")
    return LabelledEvent(onset_s, offset_s, label)


def _seconds(where: str, column: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{where}: expected {column} in seconds from the file's begin, got {text!r}")
    return seconds


def _fields(event: LabelledEvent) -> tuple[str, str, str]:
    return f"{event.onset_s:.6f}", f"{event.offset_s:.6f}", event.label
