"""The polyphonic sound detection score (PSDS), over all thresholds at once, exactly.

C. Bilen et al., "A framework for the robust evaluation of sound event detection", ICASSP 2020; exact computation as in
J. Ebbers, R. Serizel, R. Haeb-Umbach, "Threshold-independent evaluation of sound event detection scores", ICASSP 2022.
Our own, because sed_scores_eval wants a compiler, pandas below 3 and a setuptools of old; it is the tests' oracle.

A class's detection at a threshold is a longest run of frames with scores at or above it. Every run that any threshold
makes is made by the thresholds of one interval, and there are no more of them than frames. So each is judged once, and
counts at all thresholds are sums of steps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.evaluation.annotations import LabelledEvent, labels_of
from earmark.evaluation.events import Events
from earmark.evaluation.ignoring import are_ignored, extents_of
from earmark.evaluation.scoring import ScoredFiles

Numbers = NDArray[np.float64]
_DECIMALS = 6
"""Lengths are compared to the microsecond, so that what fits exactly is not lost to rounding."""


@dataclass(frozen=True)
class Criteria:
    """What a detection must fulfil, and what errors cost.

    Attributes:
        dtc: Share of a detection that true events of its class must cover; else it is a false one.
        gtc: Share of a true event that such detections must cover; then it was found.
        cttc: Share of a false detection that another class's events must cover; then it is a cross-trigger.
        alpha_ct: What the mean rate of cross-triggers adds to the rate of false detections.
        alpha_st: How much of the deviation between classes is taken off.
        max_fp_per_hour: Where the curve ends.
    """

    dtc: float
    gtc: float
    cttc: float | None
    alpha_ct: float
    alpha_st: float = 1.0
    max_fp_per_hour: float = 100.0


PSDS1 = Criteria(dtc=0.7, gtc=0.7, cttc=None, alpha_ct=0.0)
"""Asks for exact times (DCASE, task 4, scenario 1)."""
PSDS2 = Criteria(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5)
"""Asks for the right class (scenario 2)."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A staircase of rates: what is found at most with no more false detections than that.

    Attributes:
        fp_per_hour: float64 ``[K]``, rising; the effective rate of false detections.
        tp_share: float64 ``[K]``; it holds to the next rate.
    """

    fp_per_hour: Numbers
    tp_share: Numbers

    def area(self, end: float) -> float:
        """Share of the area up to ``end`` that lies below the staircase, 0 to 1."""
        inside = self.fp_per_hour <= end
        return float(self.tp_share[inside] @ np.diff(self.fp_per_hour[inside], append=end)) / end


@dataclass(frozen=True, eq=False)
class Psds:
    """The score, 0 to 1, the curve that it is the area of, and each class's own."""

    score: float
    curve: Curve
    by_label: dict[str, float]


def measure_psds(truth: Events, scored: ScoredFiles, criteria: Criteria, ignored: Events | None = None) -> Psds:
    """Measure scores against true events.

    Args:
        truth: Every file, with its true events; those of a class that touch or overlap are one.
        scored: Each of these files. Labels without a true event are left out.
        criteria: `PSDS1`, `PSDS2` or others.
        ignored: Ignored extents; a detection in one is neither right nor wrong.

    Returns:
        NaN as the score, where there is no true event at all.
    """
    truth, ignored = {name: _joined(events) for name, events in truth.items()}, ignored or {}
    seconds = {
        label: math.fsum(e.offset_s - e.onset_s for events in truth.values() for e in events if e.label == label)
        for label in sorted(labels_of(truth) & set(scored.labels))
    }
    hours = math.fsum(scored.durations_s[name] for name in truth) / 3600
    curves: dict[str, Curve] = {}
    for label in seconds:
        weights = {other: 1 / seconds[other] / (len(seconds) - 1) for other in seconds if other != label}
        column = scored.labels.index(label)
        steps = [
            _steps(
                _runs(scored.scores[name][:, column], scored.frame_s),
                events,
                label,
                weights,
                criteria,
                ignored=extents_of(ignored.get(name, ()), label),
            )
            for name, events in truth.items()
        ]
        n_true = sum(event.label == label for events in truth.values() for event in events)
        curves[label] = _curve(np.concatenate(steps), n_true, hours, criteria)
    end = criteria.max_fp_per_hour
    overall = _average(list(curves.values()), criteria)
    return Psds(
        score=overall.area(end) if curves else math.nan,
        curve=overall,
        by_label={label: curve.area(end) for label, curve in curves.items()},
    )


def _joined(events: Sequence[LabelledEvent]) -> list[LabelledEvent]:
    """The same stretches, each once."""
    joined: list[LabelledEvent] = []
    for event in sorted(events, key=lambda event: (event.label, event)):
        before = joined[-1] if joined else None
        if before is not None and before.label == event.label and event.onset_s <= before.offset_s:
            joined[-1] = LabelledEvent(before.onset_s, max(before.offset_s, event.offset_s), event.label)
        else:
            joined.append(event)
    return joined


@dataclass(frozen=True, eq=False)
class _Runs:
    """All runs that thresholds make of one class's scores in one file.

    Attributes:
        thresholds: float64 ``[K]``, falling: those where anything changes.
        onset_s: float64 ``[R]``.
        offset_s: float64 ``[R]``.
        born: int64 ``[R]``: place of the highest threshold that makes the run.
        dies: int64 ``[R]``: place of the threshold that makes it longer, K for none.
    """

    thresholds: Numbers
    onset_s: Numbers
    offset_s: Numbers
    born: NDArray[np.int64]
    dies: NDArray[np.int64]


def _runs(scores: NDArray[np.float32], frame_s: float) -> _Runs:
    """A run lies between its nearest smaller scores on either side; the larger of those ends it."""
    n_frames = len(scores)
    before, behind = _nearest_smaller(scores), n_frames - 1 - _nearest_smaller(scores[::-1])[::-1]
    bounds, members = np.unique(np.column_stack([before + 1, behind]), axis=0, return_index=True)
    walled = np.append(scores, np.float32(-np.inf))  # the wall is behind the last, and before the first as place -1
    thresholds = np.unique(scores)[::-1]
    return _Runs(
        thresholds.astype(np.float64),
        bounds[:, 0].astype(np.float64) * frame_s,
        bounds[:, 1].astype(np.float64) * frame_s,
        np.searchsorted(-thresholds, -scores[members]),
        np.searchsorted(-thresholds, -np.maximum(walled[bounds[:, 0] - 1], walled[bounds[:, 1]])),
    )


def _steps(
    runs: _Runs,
    events: Sequence[LabelledEvent],
    label: str,
    weights: Mapping[str, float],
    criteria: Criteria,
    *,
    ignored: Numbers,
) -> Numbers:
    """How one class's counts in one file change as the threshold falls.

    Args:
        runs: Of the class ``label``.
        events: All true events of the file.
        label: The class.
        weights: What a cross-trigger of each other class counts.
        criteria: What is right.
        ignored: The class's ignored extents in the file, ``[N, 2]``.

    Returns:
        float64 ``[K, 4]``: threshold, and what is added there to true events found, to false detections, and to the
        weighted cross-triggers.
    """
    true = extents_of(events, label)
    length_s = runs.offset_s - runs.onset_s
    covered = _covered(runs, true)
    is_right = _reaches(covered.sum(axis=1), criteria.dtc, length_s)
    is_wrong = ~is_right & ~are_ignored(runs.onset_s, runs.offset_s, true, ignored)
    cross = np.zeros(len(length_s))
    if criteria.cttc is not None:
        for other in {event.label for event in events} & weights.keys():
            by_other = _covered(runs, extents_of(events, other)).sum(axis=1)
            cross += weights[other] * (is_wrong & _reaches(by_other, criteria.cttc, length_s))
    added = np.column_stack([covered * is_right[:, None], is_wrong, cross])
    change = np.zeros((len(runs.thresholds) + 1, added.shape[1]))
    np.add.at(change, runs.born, added)
    np.subtract.at(change, runs.dies, added)
    change = change[:-1]
    found = _reaches(np.cumsum(change[:, :-2], axis=0), criteria.gtc, true[:, 1] - true[:, 0]).sum(axis=1)
    return np.column_stack([runs.thresholds, np.diff(found, prepend=0), change[:, -2:]])


def _nearest_smaller(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """The last place before each with a smaller score, -1 where there is none."""
    values: list[float] = scores.tolist()
    nearest = np.empty(len(values), np.int64)
    open_places: list[int] = []
    for place, value in enumerate(values):
        while open_places and values[open_places[-1]] >= value:
            open_places.pop()
        nearest[place] = open_places[-1] if open_places else -1
        open_places.append(place)
    return nearest


def _covered(runs: _Runs, extents: Numbers) -> Numbers:
    """Seconds that each of R runs shares with each of M extents: ``[R, M]``."""
    last_s = np.minimum(runs.offset_s[:, None], extents[:, 1])
    return np.maximum(last_s - np.maximum(runs.onset_s[:, None], extents[:, 0]), 0)


def _reaches(covered_s: Numbers, share: float, length_s: Numbers) -> NDArray[np.bool_]:
    return np.round(covered_s, _DECIMALS) >= np.round(share * length_s, _DECIMALS)


def _curve(steps: Numbers, n_true: int, hours: float, criteria: Criteria) -> Curve:
    """One class's curve from the steps of all files."""
    steps = steps[np.argsort(-steps[:, 0], kind="stable")]
    totals: Numbers = np.cumsum(steps[:, 1:], axis=0)[_is_last(steps[:, 0])]
    rate: Numbers = totals[:, 1] / hours + criteria.alpha_ct * 3600 * totals[:, 2]
    order = np.lexsort((totals[:, 0], rate))
    best: Numbers = np.maximum.accumulate(totals[order, 0]) / n_true
    rises = np.diff(best, prepend=-1.0) > 0
    rate, best = rate[order][rises], best[rises]
    return Curve(rate[_is_last(rate)], best[_is_last(rate)])


def _is_last(values: Numbers) -> NDArray[np.bool_]:
    """Of sorted values the last of each that are the same."""
    return np.diff(values, append=np.nan) != 0


def _average(curves: Sequence[Curve], criteria: Criteria) -> Curve:
    """Mean of the classes' curves less ``alpha_st`` times their deviation."""
    if not curves:
        return Curve(np.zeros(0), np.zeros(0))
    rates = np.unique(np.concatenate([curve.fp_per_hour for curve in curves]))
    rates = rates[rates <= criteria.max_fp_per_hour]
    places = [np.searchsorted(curve.fp_per_hour, rates, side="right") for curve in curves]
    shares = np.stack([np.append(0.0, curve.tp_share)[place] for curve, place in zip(curves, places, strict=True)])
    return Curve(rates, np.maximum(shares.mean(axis=0) - criteria.alpha_st * shares.std(axis=0), 0))
