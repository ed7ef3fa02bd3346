"""Chooses how each class's scores become events: a whole grid is counted, and the best that may be is taken.

A class with few events fits its own noise: of tens of thousands of settings some find all six by chance. So a setting
is judged by the F1 score of the class's own counts plus those of all classes together under the same setting, which
weigh as much as `PRIOR_EVENTS` events do. A class with many events decides for itself, one with few does much as all
do. That wants one grid for all classes, and round numbers in it.

How often classes may be told of in files without them is bounded on average: a false alarm has a price in F1, the same
for all classes and as low as the bound allows, so that those have them which gain most by it.

Even so a choice looks better on the files that it was made on than elsewhere. So the files are counted in folds, and
every fold is also judged under what would have been chosen without it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import BundleSpec, Smoothing
from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.counting import ClassTruth, Counter, Grid, Metric, Table
from earmark.evaluation.events import Counts, FalseAlarms
from earmark.evaluation.scoring import ScoredFiles
from earmark.evaluation.simulation import Tape

PRIOR_EVENTS = 60.0
"""Chosen on two sets of 300 scenes with 17 events a class, of the same sounds: tuned on either and measured on the
other, 60 and 100 gave the best event F1 of 0.001 to 400, and 30 or more the best F1 of onsets."""
_FOLDS = 5
_THRESHOLDS = (0.02, *(round(0.05 * step, 2) for step in range(1, 20)), 0.98, 0.99, 0.995)
GRID = Grid(
    median_frames=(1, 3, 5, 9, 13, 19, 25),
    offset_threshold=_THRESHOLDS,
    min_gap_s=(0.0, 0.2, 0.4, 0.8, 1.6),
    onset_threshold=_THRESHOLDS,
    min_duration_s=(0.0, 0.12, 0.24, 0.48),
)
MOST_OF_A_CLASS = 4.0
"""False alarms that one class may have, in units of the bound on their average."""
_SAME, _DIGITS = 1e-9, 9
_HIGHEST_PRICE, _HALVINGS = 100.0, 60
"""Of a false alarm an hour, in F1 scores: where it is looked for."""


@dataclass(frozen=True)
class Effect:
    """What a setting does: what it finds in the judged files, and what it tells of in files without the class."""

    counts: Counts
    alarms: FalseAlarms


@dataclass(frozen=True)
class Tuned:
    """How a class was smoothed, and how it is best.

    Attributes:
        label: The class.
        before: The bundle's own setting.
        after: The chosen one.
        effect_before: What `before` does.
        effect_after: What `after` does on the files that it was chosen on: it flatters.
        effect_elsewhere: What is to be expected of files like these: each fold under what was chosen without it.
        is_bounded: Whether `after` keeps the bound on a single class's false alarms; if not, no setting has fewer.
    """

    label: str
    before: Smoothing
    after: Smoothing
    effect_before: Effect
    effect_after: Effect
    effect_elsewhere: Effect
    is_bounded: bool


def tune(
    scored: ScoredFiles,
    truth: Mapping[str, Sequence[LabelledEvent]],
    spec: BundleSpec,
    *,
    max_false_alarms_per_hour: float,
    metric: Metric = "event",
    judged: Collection[str] | None = None,
    grid: Grid = GRID,
) -> list[Tuned]:
    """Choose every class's smoothing.

    Args:
        scored: Scores by the bundle.
        truth: By file; a file that is not in it holds no event. Events of other labels than the bundle's are ignored.
        spec: The bundle as it is.
        max_false_alarms_per_hour: Of a class, in the files without it, on average over all classes; one class has
            `MOST_OF_A_CLASS` times as many at most.
        metric: What is to be found well.
        judged: Files that the F1 score is of, with all events among them; None for all. False alarms are counted in
            every file.
        grid: What there is to choose from.

    Returns:
        One for each class, in the bundle's order. A class that the files do not hold keeps its setting if that keeps
        the bound.
    """
    names = tuple(scored.scores)
    parts = [_part(scored, names[fold::_FOLDS]) for fold in range(_FOLDS)]
    folds = [_count(part, truth, spec, metric=metric, judged=judged, grid=grid) for part in parts]
    whole = [_sum(of_class) for of_class in zip(*folds, strict=True)]
    chooser = _Chooser(grid, whole, max_false_alarms_per_hour)
    chosen = chooser.choose()
    elsewhere: list[list[Effect]] = []
    for fold in folds:
        rest = [one.without(part) for one, part in zip(whole, fold, strict=True)]
        other = _Chooser(grid, rest, max_false_alarms_per_hour)
        elsewhere.append([part.effect(place) for place, part in zip(other.choose(), fold, strict=True)])
    tuned: list[Tuned] = []
    for label, one, place, effects in zip(spec.labels, whole, chosen, zip(*elsewhere, strict=True), strict=True):
        before = spec.smoothing_of(label)
        after = before if place == chooser.present else grid.smoothing(place)
        effect = one.effect(place)
        tuned.append(
            Tuned(
                label=label,
                before=before,
                after=after,
                effect_before=one.effect(chooser.present),
                effect_after=effect,
                effect_elsewhere=_sum_effects(effects),
                is_bounded=effect.alarms.count <= chooser.allowed(one),
            )
        )
    return tuned


def with_smoothing(spec: BundleSpec, tuned: Sequence[Tuned], note: str) -> BundleSpec:
    """``spec`` with the chosen settings, and ``note`` behind its recipe in the place of an earlier one.

    Figures of its quality that the smoothing decides are left out: they were those of the one before.
    """
    quality = {name: figure for name, figure in spec.quality.items() if name.startswith("clip_")}
    by_label = {one.label: one.after for one in tuned if one.after != spec.smoothing}
    recipe = spec.training.recipe.split(_NOTE)[0] + _NOTE + note
    training = spec.training.model_copy(update={"recipe": recipe})
    return spec.model_copy(update={"smoothing_by_label": by_label, "training": training, "quality": quality})


_NOTE = "; smoothing tuned "


@dataclass(frozen=True)
class _Counted:
    """A class in some files.

    Attributes:
        table: int32 ``[3, S + 1]`` as `Counter.count` gives it, for each setting of the flat grid and the present one.
        n_true: How much there is to hit.
        empty_hours: How long the files without the class are.
    """

    table: Table
    n_true: int
    empty_hours: float

    def without(self, part: "_Counted") -> "_Counted":
        return _Counted(self.table - part.table, self.n_true - part.n_true, self.empty_hours - part.empty_hours)

    def effect(self, place: int) -> Effect:
        n_hits, n_found, n_alarms = self.table[:, place].tolist()
        counts = Counts(n_hits, n_found - n_hits, self.n_true - n_hits)
        return Effect(counts, FalseAlarms(n_alarms, self.empty_hours))


def _sum(parts: Sequence[_Counted]) -> _Counted:
    table = np.stack([part.table for part in parts]).sum(axis=0, dtype=np.int32)
    return _Counted(table, sum(part.n_true for part in parts), sum(part.empty_hours for part in parts))


def _sum_effects(effects: Sequence[Effect]) -> Effect:
    alarms = [effect.alarms for effect in effects]
    return Effect(
        sum((effect.counts for effect in effects), Counts(0, 0, 0)),
        FalseAlarms(sum(each.count for each in alarms), sum(each.hours for each in alarms)),
    )


def _part(scored: ScoredFiles, names: Sequence[str]) -> ScoredFiles:
    scores, durations_s = scored.scores, scored.durations_s
    return replace(
        scored, scores={name: scores[name] for name in names}, durations_s={name: durations_s[name] for name in names}
    )


def _count(
    scored: ScoredFiles,
    truth: Mapping[str, Sequence[LabelledEvent]],
    spec: BundleSpec,
    *,
    metric: Metric,
    judged: Collection[str] | None,
    grid: Grid,
) -> list[_Counted]:
    """Count for every class."""
    tape = Tape(scored, spec)
    is_judged = np.array([judged is None or name in judged for name in tape.names], bool)
    counter = Counter(tape, is_judged, metric)
    counted: list[_Counted] = []
    for index, label in enumerate(spec.labels):
        of_class = _truth_of(label, tape, truth)
        present = counter.count(index, of_class, Grid.of(spec.smoothing_of(label)))
        table = np.concatenate([counter.count(index, of_class, grid).reshape(3, -1), present.reshape(3, 1)], axis=1)
        empty_s = float(np.delete(tape.durations_s, of_class.file).sum())
        counted.append(_Counted(table, counter.n_true(of_class), empty_s / 3600))
    return counted


def _truth_of(label: str, tape: Tape, truth: Mapping[str, Sequence[LabelledEvent]]) -> ClassTruth:
    events = [
        (place, event.onset_s, event.offset_s)
        for place, name in enumerate(tape.names)
        for event in truth.get(name, ())
        if event.label == label
    ]
    table = np.array(events, np.float64).reshape(-1, 3)
    return ClassTruth(table[:, 0].astype(np.int64), table[:, 1], table[:, 2])


class _Chooser:
    """Chooses among the settings of a flat grid and the present one behind them.

    Args:
        grid: The settings.
        classes: All of them, counted.
        max_per_hour: Bound on false alarms of a class, on average.
    """

    def __init__(self, grid: Grid, classes: Sequence[_Counted], max_per_hour: float) -> None:
        n_true = sum(one.n_true for one in classes)
        weight = PRIOR_EVENTS / n_true if n_true else 0.0
        self.present = math.prod(grid.shape)
        pooled = np.zeros((2, self.present))
        for one in classes:
            pooled += one.table[:2, : self.present]
        self._prior_hits, self._prior_found = weight * pooled
        self._classes, self._max_per_hour = classes, max_per_hour
        median, offset, gap, onset, duration = (
            axis.reshape(-1) for axis in np.meshgrid(*map(np.asarray, grid.axes), indexing="ij")
        )
        self._is_setting = offset <= onset
        order = np.lexsort((gap, duration, median, -offset, -onset))
        self._rank: NDArray[np.int64] = np.argsort(order)
        """Small for a setting that tells of less, and sooner."""

    def allowed(self, one: _Counted) -> int:
        """False alarms that one class may have."""
        return int(MOST_OF_A_CLASS * self._max_per_hour * one.empty_hours + _SAME)

    def choose(self) -> list[int]:
        """The place of each class's setting: the best F1 scores, at the lowest price that keeps the bound."""
        fronts = [self._front(one) for one in self._classes]
        if self._mean_alarms(fronts, 0.0) <= self._max_per_hour:
            return [front.place(0.0) for front in fronts]
        low, high = 0.0, _HIGHEST_PRICE
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self._mean_alarms(fronts, middle) <= self._max_per_hour else (middle, high)
        return [front.place(high) for front in fronts]

    @staticmethod
    def _mean_alarms(fronts: Sequence["_Front"], price: float) -> float:
        return sum(front.alarms_per_hour[front.best(price)] for front in fronts) / len(fronts)

    def _front(self, one: _Counted) -> "_Front":
        """The settings of a class that are worth a thought: those that break its own bound least, if none keeps it."""
        hours = one.empty_hours or 1.0
        if not one.n_true and one.table[2, self.present] <= self._max_per_hour * hours + _SAME:
            return _Front(np.array([self.present]), np.zeros(1), one.table[2, [self.present]] / hours)
        n_hits, n_found, n_alarms = one.table[:, : self.present]
        fewest = int(n_alarms[self._is_setting].min())
        places = np.flatnonzero(self._is_setting & (n_alarms <= max(fewest, self.allowed(one))))
        n_all = one.n_true + PRIOR_EVENTS + n_found + self._prior_found
        f1: NDArray[np.float64] = np.asarray(2 * (n_hits + self._prior_hits) / n_all, np.float64)
        order = np.lexsort((self._rank[places], -f1[places].round(_DIGITS), n_alarms[places]))
        places = places[order]
        of_best = np.maximum.accumulate(f1[places])
        is_better = np.concatenate([[True], f1[places][1:] > of_best[:-1] + _SAME])
        kept = places[is_better]
        return _Front(kept, f1[kept], n_alarms[kept] / hours)


@dataclass(frozen=True, eq=False)
class _Front:
    """Settings of a class of which each has more false alarms and a better F1 score than those before it.

    Attributes:
        places: int64 ``[K]``, on the flat grid.
        f1: float64 ``[K]``.
        alarms_per_hour: float64 ``[K]``.
    """

    places: NDArray[np.int64]
    f1: NDArray[np.float64]
    alarms_per_hour: NDArray[np.float64]

    def best(self, price: float) -> int:
        """The one with the best F1 score where a false alarm an hour costs ``price`` of it."""
        return int(np.argmax(self.f1 - price * self.alarms_per_hour))

    def place(self, price: float) -> int:
        """Its place on the grid."""
        return int(self.places[self.best(price)])
