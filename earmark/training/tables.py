"""CSV and TSV files as rows that know their line."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from earmark.contracts.errors import ConfigError
from earmark.training.recording import Reject


@dataclass(frozen=True)
class Row:
    """One row: ``where`` is ``file:line``, cells are stripped and by column."""

    where: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        """The cell; empty where the table has no such column."""
        return self.cells.get(column, "")


@dataclass(frozen=True)
class Table:
    """A file with a header line: its columns, its rows, and the rows that do not fit the header."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    rejects: tuple[Reject, ...]


def columns_of(path: Path) -> tuple[str, ...]:
    """The header of a table.

    Raises:
        ConfigError: It cannot be read.
    """
    return next(_lines(path), ((), 1))[0]


def read_table(path: Path) -> Table:
    """All of a table; tabs part the cells of a ``.tsv``, commas those of any other. Empty lines are no rows.

    Raises:
        ConfigError: It cannot be read as UTF-8 text in cells.
    """
    lines = _lines(path)
    columns = next(lines, ((), 1))[0]
    rows: list[Row] = []
    rejects: list[Reject] = []
    for cells, line in lines:
        where = f"{path.name}:{line}"
        if len(cells) == len(columns):
            rows.append(Row(where, dict(zip(columns, cells, strict=True))))
        elif any(cells):
            file = cells[0] if cells else ""
            rejects.append(Reject(where, file, f"expected {len(columns)} cells as in the header, got {len(cells)}"))
    return Table(path, columns, tuple(rows), tuple(rejects))


def _lines(path: Path) -> Iterator[tuple[tuple[str, ...], int]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                yield tuple(cell.strip() for cell in cells), reader.line_num
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"expected a table in UTF-8 in {path}: {error}") from error


def below(base: Path, path: Path) -> str:
    """``path`` as a name that counts from ``base``; it may go up first."""
    return Path(os.path.relpath(path, base)).as_posix()
