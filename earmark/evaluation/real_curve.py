"""How many named sounds a detector finds against how much it gets wrong, over one threshold for all classes.

The classes' own thresholds are put aside, so detectors whose scores differ in scale can be compared at equal cost. All
recordings lie on one `Tape`: each threshold costs two passes over the scores of each class, and no state machine runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Smoothing
from earmark.evaluation.real import Detections, RealCounts, RealRecording, judged_labels
from earmark.evaluation.scoring import ScoredFiles
from earmark.evaluation.simulation import FrameEvents, Framing, Tape

THRESHOLDS = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75,
    0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999,
)  # fmt: skip


@dataclass(frozen=True)
class RealPoint:
    """A point of the curve: what one threshold for all classes finds, and what it gets wrong."""

    threshold: float
    counts: RealCounts


def at_threshold(smoothing: Smoothing, threshold: float) -> Smoothing:
    """The same smoothing with another onset threshold; the offset threshold stays the same share of it."""
    share = smoothing.offset_threshold / smoothing.onset_threshold
    return smoothing.model_copy(update={"onset_threshold": threshold, "offset_threshold": threshold * share})


def real_curve(
    recordings: Sequence[RealRecording],
    scored: ScoredFiles,
    framing: Framing,
    smoothing: Smoothing,
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[RealPoint]:
    """Judge what each threshold would detect; as `measure_real` would judge the engine's events.

    Args:
        recordings: The list.
        scored: Scores of each recording.
        framing: When they come: the bundle's ``spec``.
        smoothing: For all classes: its median, shortest duration and gap, and its offset threshold as a share of its
            onset threshold. A bundle's own is ``spec.smoothing``.
        thresholds: Onset thresholds, of which one at a time is used for all classes.

    Returns:
        A point for each threshold, in the same order.
    """
    tape = _tape(recordings, scored, framing)
    settings = [at_threshold(smoothing, threshold) for threshold in thresholds]
    floor = min(setting.offset_threshold for setting in settings)
    found = np.zeros((len(thresholds), len(recordings)), np.bool_)
    n_wrong = np.zeros(len(thresholds), np.int64)
    wrong_changes = np.zeros((len(thresholds), tape.length), np.int32)
    judged = judged_labels(recordings)
    for index, label in enumerate(scored.labels):
        track = tape.smoothed(index, smoothing.median_frames, floor)
        is_asked = np.array([one.expected == label for one in recordings])
        is_wrong = np.array([label in judged and not one.permits(label) for one in recordings])
        for place, setting in enumerate(settings):
            events = FrameEvents.decided(tape, track, setting)
            found[place, events.file] |= is_asked[events.file]
            wrong = is_wrong[events.file]
            n_wrong[place] += np.count_nonzero(wrong)
            wrong_changes[place, events.onset[wrong]] += 1  # events of one class never share an onset or an offset
            wrong_changes[place, events.offset[wrong]] -= 1
    wrong_s = _covered_s(tape, wrong_changes)
    asked = sum(one.expected in scored.labels for one in recordings)
    duration_s = float(tape.durations_s.sum())
    return [
        RealPoint(
            threshold,
            RealCounts(
                asked, int(found[place].sum()), Detections(int(n_wrong[place]), float(wrong_s[place])), duration_s
            ),
        )
        for place, threshold in enumerate(thresholds)
    ]


def _tape(recordings: Sequence[RealRecording], scored: ScoredFiles, framing: Framing) -> Tape:
    """The recordings, in the list's order."""
    names = [one.file for one in recordings]
    scores = {name: scored.scores[name] for name in names}
    return Tape(replace(scored, scores=scores, durations_s={name: scored.durations_s[name] for name in names}), framing)


def _covered_s(tape: Tape, changes: NDArray[np.int32]) -> NDArray[np.float64]:
    """Seconds that some events cover together, float64 ``[K]``; no more of a file than it is long.

    Args:
        tape: Where the events are.
        changes: int32 ``[K, L]``: how many more events are on from each frame of the tape than before it.
    """
    is_on = np.cumsum(changes, axis=1, dtype=np.int32) > 0
    n_frames = np.add.reduceat(is_on, tape.first, axis=1, dtype=np.int64)
    return np.minimum(tape.seconds(n_frames), tape.durations_s).sum(axis=1)
