"""Tables of figures, as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]


def markdown(table: Table) -> str:
    """The table's lines, without an end of line behind them."""
    lines = (table.header, ["---"] * len(table.header), *table.rows)
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
