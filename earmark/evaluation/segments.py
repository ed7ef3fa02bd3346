"""Segment-based counts: in which seconds a class is on.

A. Mesaros, T. Heittola, T. Virtanen, "Metrics for polyphonic sound event detection", Applied Sciences 6(6), 2016; as
sed_eval counts: a segment is on where an event touches it, and the last one may be shorter than the others.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.events import Counts, Events, Tally


def count_segments(
    truth: Events,
    found: Events,
    durations_s: Mapping[str, float],
    labels: Sequence[str],
    segment_s: float = 1.0,
    *,
    ignored: Events | None = None,
) -> Tally:
    """Count the segments that were found, class by class.

    Args:
        truth: Every file, with its true events.
        found: Detected events; files that ``truth`` does not name are not looked at.
        durations_s: Length of every file in ``truth``; events behind it are not looked at.
        labels: The classes that are counted.
        segment_s: Length of a segment.
        ignored: Ignored extents; a segment that touches one and is not true is not counted.
    """
    ignored = ignored or {}
    counts = np.zeros((3, len(labels)), np.int64)
    for name, events in truth.items():
        n_segments = math.ceil(durations_s[name] / segment_s)
        true = _active(events, n_segments, labels, segment_s)
        on = _active(found.get(name, ()), n_segments, labels, segment_s)
        is_wrong = on & ~true & ~_active(ignored.get(name, ()), n_segments, labels, segment_s)
        counts += np.stack([(true & on).sum(0), is_wrong.sum(0), (true & ~on).sum(0)])
    return Tally({label: Counts(*counts[:, place].tolist()) for place, label in enumerate(labels)})


def _active(
    events: Iterable[LabelledEvent], n_segments: int, labels: Sequence[str], segment_s: float
) -> NDArray[np.bool_]:
    """Bool ``[n_segments, C]``: where an event touches a segment."""
    active = np.zeros((n_segments, len(labels)), np.bool_)
    place = {label: index for index, label in enumerate(labels)}
    for event in events:
        if event.label in place:
            first, end = math.floor(event.onset_s / segment_s), math.ceil(event.offset_s / segment_s)
            active[first:end, place[event.label]] = True
    return active
