"""DCASE and DESED: tables of events with onset and offset, tab-separated, and the audio beside them."""

from dataclasses import dataclass, field
from pathlib import Path

from earmark.contracts.errors import ConfigError
from earmark.training.recording import Found, Recording, Region, Reject, checked_region, united
from earmark.training.tables import Row, below, columns_of, read_table

_PART_SPLITS = {"train": "train", "validation": "dev", "valid": "dev", "dev": "dev", "eval": "test", "test": "test"}
"""By the folder below ``metadata/``, or by how a table's name begins."""


@dataclass(frozen=True)
class _Label:
    """One class in one file, from any number of rows; the first gives its place and split."""

    where: str
    split: str
    regions: list[Region] = field(default_factory=list)


def event_tables(folder: Path) -> list[Path]:
    """The tables in a folder or below its ``metadata/`` that name files and labels."""
    return [path for path in _tables(folder) if _names_labels(path)]


def read_events(path: Path, base: Path) -> Found:
    """The table ``path``, or all of a folder: a row an event, or, with ``event_labels``, a row a clip.

    Events of one class in one file are one recording, and those that overlap are united, whichever tables they are
    from. A file that no row names an event of is a ``recording`` in which nothing is heard. Other tables below
    ``metadata/`` (durations, lists of unlabelled files) hold no labels; they are not read, and each is a note.

    Raises:
        ConfigError: The table names no labels.
    """
    found = Found(several=True)
    labels: dict[tuple[str, str], _Label] = {}
    for table in [path] if path.is_file() else _tables(path):
        if _names_labels(table):
            _read_table(table, base, found, labels)
        elif table == path:
            raise ConfigError(f"{table} lacks the column event_label; it has {list(columns_of(table))}")
        else:
            found.notes.append(f"{below(base, table)} has no labels and is not read")
    eventful = {file for file, label in labels if label}
    for (file, label), its in labels.items():
        if label or file not in eventful:
            kind = "event" if label else "recording"
            recording = Recording(file, kind, its.split, label, 0.0, united(its.regions), "", "", "")
            found.recordings.append((recording, its.where))
    return found


def _tables(folder: Path) -> list[Path]:
    return sorted({*folder.glob("*.tsv"), *folder.glob("metadata/**/*.tsv")})


def _names_labels(table: Path) -> bool:
    columns = set(columns_of(table))
    return "filename" in columns and bool({"event_label", "event_labels"} & columns)


def _read_table(table: Path, base: Path, found: Found, labels: dict[tuple[str, str], _Label]) -> None:
    rows = read_table(table)
    found.rejects.extend(rows.rejects)
    split = _split(table)
    for row in rows.rows:
        file = below(base, _audio(table, row["filename"]))
        try:
            names, regions = _events(row)
        except ValueError as error:
            found.rejects.append(Reject(row.where, file, str(error)))
            continue
        for name in names:
            labels.setdefault((file, name), _Label(row.where, split)).regions.extend(regions)


def _events(row: Row) -> tuple[list[str], list[Region]]:
    """The labels of a row, one of which may be empty, and their region, if the row tells one."""
    if not row["filename"]:
        raise ValueError("names no file")
    names = [name.strip() for name in (row["event_labels"] or row["event_label"]).split(",")]
    if not (row["onset"] or row["offset"]):
        return names, []
    if not all(names):
        raise ValueError("expected a label, found none")
    try:
        onset_s, offset_s = float(row["onset"]), float(row["offset"])
    except ValueError:
        raise ValueError(f"expected seconds, got onset {row['onset']!r} and offset {row['offset']!r}") from None
    return names, [checked_region(onset_s, offset_s)]


def _audio(table: Path, name: str) -> Path:
    """Where a table's file is: below ``audio/`` as the table is below ``metadata/``, else beside the table."""
    root = next((parent.parent for parent in table.parents if parent.name == "metadata"), None)
    folders = [table.parent, table.parent / "audio", table.parent / table.stem]
    if root is not None:
        part = root / "audio" / table.parent.relative_to(root / "metadata")
        folders = [part, part / table.stem, *folders]
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)


def _split(table: Path) -> str:
    folders = table.parts[:-1]
    below_metadata = folders[len(folders) - folders[::-1].index("metadata") :] if "metadata" in folders else ()
    part = (*below_metadata, table.stem)[0]
    return _PART_SPLITS.get(part.split("_")[0], "")
