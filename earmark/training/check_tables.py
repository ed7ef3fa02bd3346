"""A check's report for people."""

from collections import defaultdict
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from earmark.training.check import Report
from earmark.training.licences import allows_sale
from earmark.training.recording import SPLITS

_SHOWN = 50
"""Rejects and leaks in full; ``--json`` has all."""
_SALE = {True: "yes", False: "NO", None: "unknown"}


def print_report(report: Report, console: Console) -> None:
    """Tables of what is there, then what is wrong with it."""
    console.print(f"{report.layout}: {report.files} usable files, {report.seconds:.0f} s", highlight=False)
    console.print(_kinds(report))
    console.print(_classes(report))
    console.print(_licences(report))
    _list(console, "Rejects", [f"{_place(r.where, r.file)}: {r.reason}" for r in report.rejects])
    leaks = (f"{each.what} {each.name}: {', '.join(each.splits)}: {', '.join(each.files)}" for each in report.leaks)
    _list(console, "Leaks", list(leaks))
    _list(console, "Warnings", list(report.warnings))


def _place(where: str, file: str) -> str:
    return where if file in {"", where} else f"{where}: {file}"


def _kinds(report: Report) -> Table:
    rows: dict[str, dict[str, tuple[int, float]]] = defaultdict(dict)
    for count in report.counts:
        files, seconds = rows[count.kind].get(count.split, (0, 0.0))
        rows[count.kind][count.split] = files + count.files, seconds + count.seconds
    return _by_split("kind", ((kind, rows[kind]) for kind in sorted(rows)))


def _classes(report: Report) -> Table:
    rows: dict[str, dict[str, tuple[int, float]]] = defaultdict(dict)
    for count in report.counts:
        if count.kind == "event":
            rows[count.label][count.split] = count.files, count.seconds
    return _by_split("class of events", ((label, rows[label]) for label in sorted(rows)))


def _by_split(first: str, rows: Iterable[tuple[str, dict[str, tuple[int, float]]]]) -> Table:
    table = Table(first, *(column for split in SPLITS for column in (split, "s")))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, splits in rows:
        cells = [splits.get(split, (0, 0.0)) for split in SPLITS]
        table.add_row(name, *(text for files, seconds in cells for text in (str(files), f"{seconds:.0f}")))
    return table


def _licences(report: Report) -> Table:
    table = Table("licence", "files", "commercial use")
    table.columns[1].justify = "right"
    for name, files in report.licences.items():
        table.add_row(name, str(files), _SALE[allows_sale(name)])
    return table


def _list(console: Console, title: str, lines: list[str]) -> None:
    console.print(f"{title}: {len(lines) or 'none'}", highlight=False)
    for line in lines[:_SHOWN]:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if len(lines) > _SHOWN:
        console.print(f"  and {len(lines) - _SHOWN} more; --json lists all", highlight=False)
