"""The list of labelled audio: one CSV row a file, as ``index.csv`` beside the audio has it."""

import csv
from dataclasses import dataclass
from pathlib import Path

from earmark.contracts.errors import ConfigError

COLUMNS = ("file", "kind", "split", "fold", "label", "seconds", "regions", "licence", "author", "source")


@dataclass(frozen=True)
class Recording:
    """One file of the index; ``regions`` are [onset, offset) in seconds, empty when the row names none."""

    file: str
    kind: str
    split: str
    label: str
    seconds: float
    regions: tuple[tuple[float, float], ...]
    licence: str
    author: str
    source: str


def read_index(folder: Path) -> list[Recording]:
    """Rows of ``folder/index.csv``, in its order.

    Raises:
        ConfigError: There is no such file, or it lacks a column.
    """
    path = folder / "index.csv"
    if not path.is_file():
        raise ConfigError(f"expected labelled audio listed in {path}, found no such file; set data: in the config")
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if missing := set(COLUMNS) - set(rows.fieldnames or ()):
            raise ConfigError(f"{path} lacks the columns {sorted(missing)}; it has {rows.fieldnames}")
        return [_recording(row) for row in rows]


def _recording(row: dict[str, str]) -> Recording:
    named = {name: row[name] for name in ("file", "kind", "split", "label", "licence", "author", "source")}
    return Recording(**named, seconds=float(row["seconds"]), regions=_regions(row["regions"]))


def _regions(text: str) -> tuple[tuple[float, float], ...]:
    pairs = (extent.split("-") for extent in text.split())
    return tuple((float(onset), float(offset)) for onset, offset in pairs)
