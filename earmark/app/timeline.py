"""A scene's truth and what was detected in it, one above the other, as text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEAST_COVERED = 0.25
"""So much of a sound must be heard for it to count as found,"""
ONSET_TOLERANCE_S = 0.5
"""or it must be heard to begin at most so long before or after it did."""


@dataclass(frozen=True)
class Extent:
    """A label over the half-open interval [onset_s, offset_s)."""

    label: str
    onset_s: float
    offset_s: float


def found(truth: Iterable[Extent], detected: Sequence[Extent]) -> list[Extent]:
    """The true extents that were found.

    One is found if detected extents of its label cover at least a quarter of it, together, or one of them begins at
    most 0.5 s before or after its onset.

    Args:
        truth: What is in the scene.
        detected: What was heard; those of one label do not overlap.
    """
    return [extent for extent in truth if _is_found(extent, _only(detected, extent.label))]


def _is_found(true: Extent, heard: Sequence[Extent]) -> bool:
    covered_s = sum(max(0.0, min(true.offset_s, other.offset_s) - max(true.onset_s, other.onset_s)) for other in heard)
    is_on_time = any(abs(other.onset_s - true.onset_s) <= ONSET_TOLERANCE_S for other in heard)
    return is_on_time or covered_s >= LEAST_COVERED * (true.offset_s - true.onset_s)


def draw(truth: Sequence[Extent], detected: Sequence[Extent], length_s: float, width: int = 80) -> str:
    """The timeline: under a ruler of seconds, for each true label its truth above what was heard; other labels below.

    Args:
        truth: What is in the scene.
        detected: What was heard.
        length_s: Length of the scene.
        width: Columns.
    """
    labels = list(dict.fromkeys(extent.label for extent in sorted(truth, key=lambda extent: extent.onset_s)))
    others = sorted({extent.label for extent in detected} - set(labels))
    hits = found(truth, detected)
    margin = max(map(len, [*labels, *others]), default=0) + 2
    columns = max(20, width - margin - len(" | heard"))

    def row(mark: str, label: str, extents: Sequence[Extent], fill: str, what: str) -> str:
        return f"{mark:<2}{label:<{margin - 2}} {_bar(extents, length_s, columns, fill)}  {what}"

    lines = [f"{'':<{margin}} {_ruler(length_s, columns)}"]
    for label in labels:
        true, heard = _only(truth, label), _only(detected, label)
        lines.append(row("✓" if all(extent in hits for extent in true) else "✗", label, true, "░", "true"))
        lines.append(row("", "", heard, "█", "heard"))
    lines += [row("+", label, _only(detected, label), "█", "heard") for label in others]
    return "\n".join(lines)


def _only(extents: Iterable[Extent], label: str) -> list[Extent]:
    return [extent for extent in extents if extent.label == label]


def _bar(extents: Iterable[Extent], length_s: float, columns: int, fill: str) -> str:
    cells = ["·"] * columns
    for extent in extents:
        first = min(columns - 1, max(0, round(extent.onset_s / length_s * columns)))
        last = min(columns, max(first + 1, round(extent.offset_s / length_s * columns)))
        cells[first:last] = fill * (last - first)
    return "".join(cells)


def _ruler(length_s: float, columns: int) -> str:
    cells = [" "] * (columns + 4)
    step_s = next(step for step in (1, 2, 5, 10, 30, 60, 300, 600, 3600, 86_400) if length_s / step <= columns / 8)
    for at_s in range(0, int(length_s) + 1, step_s):
        at = round(at_s / length_s * columns)
        text = f"{at_s} s"
        cells[at : at + len(text)] = text
    return "".join(cells).rstrip()
