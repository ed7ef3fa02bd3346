"""Extents that a detector is neither asked to find nor blamed for finding.

A class may sound where nobody could hear it, because other sounds drown it. Such an extent is ignored:

- A detected event is dropped before anything is counted, if at least half of it lies in ignored extents of its class
  and no true event of its class is within 200 ms of it. The same holds for each detection of the PSDS.
- A segment that touches an ignored extent of a class and is not true is not counted for that class. Nor is a frame
  whose middle lies in one.
- A file with an ignored extent of a class is not a file without that class, so it holds no false alarms of it.

An ignored extent that a true event of its class covers changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from earmark.evaluation.annotations import LabelledEvent

Floats = NDArray[np.float64]
Event = TypeVar("Event", bound=LabelledEvent)

IGNORED_SHARE = 0.5
NEAR_S = 0.2
"""Collar of the event-based metrics: what they could pair with a true event is never dropped."""
_SAME_S = 1e-6


def drop_ignored(
    found: Mapping[str, Sequence[Event]],
    truth: Mapping[str, Sequence[LabelledEvent]],
    ignored: Mapping[str, Sequence[LabelledEvent]],
) -> dict[str, list[Event]]:
    """The detected events that count.

    Args:
        found: Detected events by file.
        truth: True events by file.
        ignored: Ignored extents by file.
    """
    return {
        name: [event for event in events if not _is_dropped(event, truth.get(name, ()), ignored.get(name, ()))]
        for name, events in found.items()
    }


def are_ignored(onset_s: Floats, offset_s: Floats, true: Floats, ignored: Floats) -> NDArray[np.bool_]:
    """Which detections of one class are dropped.

    Args:
        onset_s: Of any shape, on the time axis of the extents.
        offset_s: Of a shape that fits.
        true: The class's true extents, onset and offset, ``[M, 2]``.
        ignored: The class's ignored extents ``[N, 2]``.
    """
    if not len(ignored):
        return np.zeros(np.broadcast_shapes(onset_s.shape, offset_s.shape), np.bool_)
    near = true + np.array([-NEAR_S, NEAR_S])
    is_mostly_ignored = covered_s(onset_s, offset_s, ignored) >= IGNORED_SHARE * (offset_s - onset_s) - _SAME_S
    return is_mostly_ignored & (covered_s(onset_s, offset_s, near) < _SAME_S)


def covered_s(onset_s: Floats, offset_s: Floats, extents: Floats) -> Floats:
    """Seconds of each ``[onset_s, offset_s)`` that the union of ``extents [M, 2]`` covers."""
    edges = _united(extents).reshape(-1)
    if not len(edges):
        return np.zeros(np.broadcast_shapes(onset_s.shape, offset_s.shape))
    # Covered time up to each edge; it grows linearly from onsets to offsets and stays between extents.
    before = np.cumsum(np.concatenate([[0.0], np.where(np.arange(len(edges) - 1) % 2, 0.0, np.diff(edges))]))
    return np.interp(offset_s, edges, before) - np.interp(onset_s, edges, before)


def extents_of(events: Sequence[LabelledEvent], label: str) -> Floats:
    """Onset and offset of one class's events, ``[M, 2]``."""
    extents = [(event.onset_s, event.offset_s) for event in events if event.label == label]
    return np.array(extents, np.float64).reshape(-1, 2)


def _united(extents: Floats) -> Floats:
    """The same time as disjoint extents in order."""
    if not len(extents):
        return extents
    extents = extents[np.argsort(extents[:, 0])]
    latest = np.maximum.accumulate(extents[:, 1])
    is_first = np.concatenate([[True], extents[1:, 0] > latest[:-1]])
    return np.column_stack([extents[is_first, 0], latest[np.append(is_first[1:], True)]])


def _is_dropped(event: LabelledEvent, truth: Sequence[LabelledEvent], ignored: Sequence[LabelledEvent]) -> bool:
    extents = extents_of(ignored, event.label)
    if not len(extents):
        return False
    onset_s, offset_s = np.array(event.onset_s), np.array(event.offset_s)
    return bool(are_ignored(onset_s, offset_s, extents_of(truth, event.label), extents))
