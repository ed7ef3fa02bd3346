"""The list of labelled audio. `read_index` reads every format there is; this module's own is ``index.csv``.

A list names each file once for each of its classes. What cannot be used is a `Reject` with its reason, and the rest
goes on: `read_listing` hands out both, `read_index` logs the rejects.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from earmark.contracts.errors import ConfigError
from earmark.training import layouts
from earmark.training.dcase import event_tables, read_events
from earmark.training.recording import (
    KINDS,
    SPLITS,
    Found,
    Recording,
    Region,
    Reject,
    behind_end,
    log_rejects,
    parse_regions,
)
from earmark.training.splits import group_of, with_splits
from earmark.training.tables import Row, Table, columns_of, read_table

COLUMNS = ("file", "kind", "split", "fold", "label", "seconds", "regions", "licence", "author", "source")
"""Of ``index.csv``; a list of one's own needs only those in `REQUIRED`, and may have a ``group``."""
REQUIRED = ("file", "label")

_SPLIT_NAMES = {"val": "dev", "valid": "dev", "validation": "dev", "eval": "test", "evaluation": "test"}
_FORMATS = (
    "index.csv with at least file,label; a DCASE .tsv with filename, onset, offset, event_label, also below "
    "metadata/; meta/esc50.csv; metadata/UrbanSound8K.csv; an FSDKaggle table with fname,labels"
)

Reader = Callable[[Path, Path], Found]


@dataclass(frozen=True)
class Listing:
    """What a list holds.

    Attributes:
        base: The folder that the recordings' files are below.
        layout: The format that was recognised.
        recordings: Those whose file is there.
        rejects: What cannot be used.
        notes: What else is worth a word.
    """

    base: Path
    layout: str
    recordings: tuple[Recording, ...]
    rejects: tuple[Reject, ...]
    notes: tuple[str, ...] = ()


def audio_base(path: Path) -> Path:
    """The folder that the files of the list ``path`` are below: itself, or a list's own folder."""
    return path.parent if path.is_file() else path


def read_index(path: Path) -> list[Recording]:
    """The recordings of a list, or of a folder that has one, in its order; logs what it leaves out.

    Raises:
        ConfigError: There is no list that any format fits.
    """
    listing = read_listing(path)
    log_rejects(listing.rejects)
    return list(listing.recordings)


def read_lists(paths: Sequence[Path]) -> list[Recording]:
    """As `read_index`, of several lists; files lie below the folder of the first one."""
    base = audio_base(paths[0])
    found: list[Recording] = []
    for path in paths:
        here = Path(os.path.relpath(audio_base(path), base))
        found += [replace(each, file=(here / each.file).as_posix()) for each in read_index(path)]
    return found


def read_listing(path: Path) -> Listing:
    """Everything in a list, or in the list of a folder: see `read_index`."""
    layout, reader, table = _recognised(path)
    base = audio_base(path)
    found = reader(table, base)
    recordings: list[Recording] = []
    rejects = list(found.rejects)
    for recording, where in _without_repeats(found, rejects):
        if (base / recording.file).is_file():
            recordings.append(recording)
        else:
            rejects.append(Reject(where, recording.file, "there is no such file"))
    fit = _with_others(with_splits(recordings))
    return Listing(base, layout, tuple(fit), tuple(rejects), tuple(found.notes))


def _recognised(path: Path) -> tuple[str, Reader, Path]:
    if path.is_file():
        return _by_columns(path)
    known: tuple[tuple[str, Reader, str], ...] = (
        ("index", _read_own, "index.csv"),
        ("ESC-50", layouts.read_esc50, "meta/esc50.csv"),
        ("UrbanSound8K", layouts.read_urbansound, "metadata/UrbanSound8K.csv"),
    )
    for layout, reader, name in known:
        if (path / name).is_file():
            return layout, reader, path / name
    if event_tables(path):
        return "DCASE", read_events, path
    if layouts.freesound_tables(path):
        return "FSDKaggle", layouts.read_freesound, path
    raise ConfigError(f"expected labelled audio listed in {path / 'index.csv'} or another list, found none; {_FORMATS}")


def _by_columns(path: Path) -> tuple[str, Reader, Path]:
    columns = columns_of(path)
    readers: tuple[tuple[str, Reader, str], ...] = (
        ("index", _read_own, "file"),
        ("ESC-50", layouts.read_esc50, "src_file"),
        ("UrbanSound8K", layouts.read_urbansound, "slice_file_name"),
        ("DCASE", read_events, "filename"),
        ("FSDKaggle", layouts.read_freesound, "fname"),
    )
    for layout, reader, column in readers:
        if column in columns:
            return layout, reader, path
    raise ConfigError(f"{path} lacks the columns of every format, it has {list(columns)}; expected {_FORMATS}")


def _without_repeats(found: Found, rejects: list[Reject]) -> list[tuple[Recording, str]]:
    """Each file once for each class; rows that contradict an earlier one are rejects."""
    kept: list[tuple[Recording, str]] = []
    by_file: dict[str, list[tuple[Recording, str]]] = defaultdict(list)
    for recording, where in found.recordings:
        earlier = by_file[recording.file]
        if reason := _contradiction(recording, earlier, several=found.several):
            rejects.append(Reject(where, recording.file, reason))
            continue
        earlier.append((recording, where))
        kept.append((recording, where))
    return kept


def _contradiction(recording: Recording, earlier: Sequence[tuple[Recording, str]], *, several: bool) -> str | None:
    for other, where in earlier:
        if other.label == recording.label:
            return f"listed already, with the same label, in {where}"
        if recording.split != other.split:
            return f"listed already in {where}, in another split ({other.split or 'none'})"
        if not several and not (other.regions and recording.regions):
            return f"listed already, as {other.label!r}, in {where}; rows with several labels need regions"
    return None


def _with_others(recordings: Sequence[Recording]) -> list[Recording]:
    labels: dict[str, list[str]] = defaultdict(list)
    for recording in recordings:
        labels[recording.file].append(recording.label)
    return [replace(r, also=tuple(label for label in labels[r.file] if label != r.label)) for r in recordings]


def _read_own(path: Path, _base: Path) -> Found:
    table = read_table(path)
    if missing := set(REQUIRED) - set(table.columns):
        raise ConfigError(f"{path} lacks the columns {sorted(missing)}; it has {list(table.columns)}")
    found = Found(rejects=[*_unknown_columns(table), *table.rejects])
    for row in table.rows:
        try:
            found.recordings.append((_recording(row), row.where))
        except ValueError as error:
            found.rejects.append(Reject(row.where, row["file"], str(error)))
    return found


def _unknown_columns(table: Table) -> list[Reject]:
    known = (*COLUMNS, "group")
    unknown = [column for column in table.columns if column not in known]
    return [Reject(f"{table.path.name}:1", "", _unknown_column(column, known)) for column in unknown]


def _unknown_column(column: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(column.lower(), known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"the column {column!r} is unknown and not read; {hint}"


def _recording(row: Row) -> Recording:
    file, source, kind = row["file"], row["source"], row["kind"] or "event"
    split = _SPLIT_NAMES.get(row["split"], row["split"])
    if not file:
        raise ValueError("names no file")
    if kind not in KINDS:
        raise ValueError(f"expected a kind out of {', '.join(KINDS)}, got {kind!r}")
    if split and split not in SPLITS:
        raise ValueError(f"expected a split out of {', '.join(SPLITS)}, got {split!r}")
    if not row["label"] and kind in {"event", "extra"}:
        raise ValueError(f"expected a label, because its kind is {kind}, found none")
    seconds = _seconds(row["seconds"])
    return Recording(
        file=file,
        kind=kind,
        split=split,
        label=row["label"],
        seconds=seconds,
        regions=_regions(row["regions"], seconds),
        licence=row["licence"],
        author=row["author"],
        source=source,
        fold=row["fold"],
        group=row["group"] or group_of(file, source),
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:
        raise ValueError(f"expected a number of seconds, got {text!r}") from None
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"expected a number of seconds, got {text!r}")
    return seconds


def _regions(text: str, seconds: float) -> tuple[Region, ...]:
    regions = parse_regions(text)
    if seconds and (reason := behind_end(regions, seconds)):
        raise ValueError(reason)
    return regions
