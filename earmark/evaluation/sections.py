"""What a report is made of, and how it writes numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column is names, the others numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        title: Its heading.
        text: Paragraphs.
        tables: Under them.
        pictures: File names, under the tables.
    """

    title: str
    text: Sequence[str]
    tables: Sequence[Table] = ()
    pictures: Sequence[str] = ()


def percent(share: float) -> str:
    """A share as percent without the sign."""
    return number(100 * share, 1)


def number(value: float, decimals: int = 3) -> str:
    """A number, or a dash for what there is none of."""
    return f"{value:.{decimals}f}" if math.isfinite(value) else "–"  # noqa: RUF001 -- a dash for what there is none of
