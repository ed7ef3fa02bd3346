"""Chooses how each class's scores become events: as much as can be found within a budget of what may be wrong.

A person who lives with a detector minds wrong events, and the time for which something wrong is said to sound, more
than a missed sound. So a `Budget` bounds both, over all classes together. Every wrong event and every wrong second has
a price, the same for all classes and as low as the budget allows; each class takes the setting that finds most for what
it costs. So those classes have wrong events which find most by them.

A class with few sounds fits its own noise: of tens of thousands of settings some find them all by chance. So a setting
is judged by the class's own counts plus those of all classes together under the same setting, which weigh as much as
`PRIOR_EVENTS` events and `PRIOR_RECORDINGS` recordings do. A class with many sounds decides for itself, one with few
does much as all do. That wants one grid for all classes, and round numbers in it.

Even so a choice looks better on the files that it was made on than elsewhere. So the files are counted in folds, and
the prices are those that keep the budget if every fold is judged under what is best without it. How well that works on
other files is measured in nested folds: for each fold, all of this is done again without it, prices included.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import BundleSpec, Smoothing
from earmark.contracts.presets import DEFAULT_PRESET, Preset
from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.counting import Counter, Flags, Grid, Measure, Table
from earmark.evaluation.material import N_FOLDS, Material, Outcome
from earmark.evaluation.simulation import Floats, Ints, Tape, decided_events

PRIOR_EVENTS, PRIOR_RECORDINGS = 60.0, 10.0
PRIOR_WRONG = 0.2
"""Share of a class's wrong events that is that of all classes under the same setting."""
GRID = Grid(
    median_frames=(3, 9, 25),
    onset_threshold=(0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99),
    offset_share=(0.05, 0.2, 0.6),
    min_gap_s=(0.4, 1.0),
    max_unproven_s=(1.0, 2.0, 5.0),
    min_duration_s=(0.0, 0.24, 0.6),
)
_LOWEST_PRICE, _HIGHEST_PRICE, _HALVINGS, _ROUNDS = 1e-4, 1e4, 20, 8
"""Where the price of a whole budget is looked for, in units of all that there is to find of one class, and how long."""
_DIGITS = 9
_NOTHING = 1e-3
"""Events or frames: what a budget allows at least, so that it can be divided by."""


@dataclass(frozen=True)
class Budget:
    """What may be wrong, over all classes together.

    Attributes:
        wrong_per_hour: Wrong events an hour.
        wrong_share: Share of the time in which something wrong is detected.
        music_wrong_share: The same in music.
    """

    wrong_per_hour: float
    wrong_share: float
    music_wrong_share: float


BUDGETS: dict[Preset, Budget] = {
    "quiet": Budget(7.0, 0.005, 0.007),
    "balanced": Budget(20.0, 0.015, 0.02),
    "keen": Budget(60.0, 0.045, 0.06),
}


@dataclass(frozen=True)
class Tuned:
    """What was chosen for one budget.

    Attributes:
        smoothing: By label, for all of the bundle's.
        here: What it does on the files that it was chosen on: it flatters.
        elsewhere: What is to be expected of files like these: each fold under what was chosen, prices included,
            without it.
    """

    smoothing: dict[str, Smoothing]
    here: Outcome
    elsewhere: Outcome


def tune(
    material: Material,
    spec: BundleSpec,
    budgets: Mapping[Preset, Budget] = BUDGETS,
    grid: Grid = GRID,
    least: Mapping[str, float] | None = None,
) -> dict[Preset, Tuned]:
    """Choose every class's smoothing, for each budget.

    Args:
        material: What to choose on, scored by the bundle. Wrong events are counted in its real recordings, or where
            there are none in its scenes.
        spec: The bundle.
        budgets: What may be wrong.
        grid: What there is to choose from.
        least: Onset thresholds not to go below, by label; the grid's highest is always allowed.
    """
    folds = _counted(material, spec, grid)
    settings = [grid.smoothing(int(place)) for place in grid.ranked()]
    onset_thresholds = np.array([one.onset_threshold for one in settings])
    lowest = np.array([(least or {}).get(label, 0.0) for label in spec.labels])
    allowed = onset_thresholds >= np.minimum(lowest, onset_thresholds.max())[:, None]
    market = _Market(folds, allowed)
    markets_without = [_Market([*folds[:index], *folds[index + 1 :]], allowed) for index in range(len(folds))]

    def named(chosen: Ints) -> dict[str, Smoothing]:
        return {label: settings[place] for label, place in zip(spec.labels, chosen.tolist(), strict=True)}

    tuned: dict[Preset, Tuned] = {}
    for preset, budget in budgets.items():
        in_folds = [named(without.choose(budget)) for without in markets_without]
        tuned[preset] = _tuned(material, spec, named(market.choose(budget)), in_folds)
    return tuned


def _tuned(
    material: Material, spec: BundleSpec, smoothing: dict[str, Smoothing], in_folds: Sequence[dict[str, Smoothing]]
) -> Tuned:
    here = decided_events(material.scored, spec, smoothing.__getitem__)
    elsewhere: dict[str, list[LabelledEvent]] = {}
    for fold, of_fold in enumerate(in_folds):
        elsewhere |= decided_events(material.of_fold(fold), spec, of_fold.__getitem__)
    return Tuned(smoothing, material.outcome(here), material.outcome(elsewhere))


def with_presets(
    spec: BundleSpec, tuned: Mapping[Preset, Tuned], note: str, default: Preset = DEFAULT_PRESET
) -> BundleSpec:
    """``spec`` with these presets, of which ``default`` decides, and with ``note`` at the end of its recipe.

    Its quality says what is to be expected of each preset elsewhere. Figures that depend on the smoothing before are
    left out.
    """
    quality = {name: figure for name, figure in spec.quality.items() if name.startswith("clip_")}
    for preset, one in tuned.items():
        quality |= {f"{preset}_elsewhere_{name}": figure for name, figure in one.elsewhere.figures().items()}
    recipe = spec.training.recipe.split(_NOTE)[0] + _NOTE + note
    presets = {preset: one.smoothing for preset, one in tuned.items()}
    return spec.model_copy(
        update={
            "presets": presets,
            "smoothing_by_label": presets[default],
            "training": spec.training.model_copy(update={"recipe": recipe}),
            "quality": quality,
        }
    )


_NOTE = "; smoothing tuned "


@dataclass(frozen=True, eq=False)
class _Counted:
    """All classes of some files, under each of S settings, those that detect less first.

    Attributes:
        table: int32 ``[len(Measure), C, S]``.
        n_true: Events of scenes, int64 ``[C]``.
        n_asked: Recordings in which it must be found, int64 ``[C]``.
        watched_s: How long the files are in which wrong events are counted.
        music_s: How long the music among them is.
        frame_s: Length of a frame.
    """

    table: Table
    n_true: Ints
    n_asked: Ints
    watched_s: float
    music_s: float
    frame_s: float

    def without(self, part: "_Counted") -> "_Counted":
        """What the other files hold."""
        return replace(
            self,
            table=self.table - part.table,
            n_true=self.n_true - part.n_true,
            n_asked=self.n_asked - part.n_asked,
            watched_s=self.watched_s - part.watched_s,
            music_s=self.music_s - part.music_s,
        )

    def gains(self) -> Floats:
        """What each setting finds of each class, at most 1: ``[C, S]``."""
        parts: list[Floats] = []
        if n_events := int(self.n_true.sum()):
            hits, detected = self.table[Measure.HITS], self.table[Measure.DETECTED]
            weight = PRIOR_EVENTS / n_events
            n_all = self.n_true[:, None] + PRIOR_EVENTS + detected + weight * detected.sum(axis=0)
            parts.append(2 * (hits + weight * hits.sum(axis=0)) / n_all)
        if n_asked := int(self.n_asked.sum()):
            found = self.table[Measure.FOUND]
            shared = PRIOR_RECORDINGS / n_asked * found.sum(axis=0)
            parts.append((found + shared) / (self.n_asked[:, None] + PRIOR_RECORDINGS))
        return np.mean(parts, axis=0) if parts else np.zeros(self.table.shape[1:])

    def wrong(self) -> NDArray[np.int32]:
        """Wrong events, their frames, and those in music: ``[3, C, S]``."""
        return self.table[[Measure.WRONG, Measure.WRONG_FRAMES, Measure.WRONG_MUSIC_FRAMES]]

    def allowed(self, budget: Budget) -> Floats:
        """How much of `wrong` a budget allows over all classes, ``[3, 1, 1]``."""
        allowed = [
            budget.wrong_per_hour * self.watched_s / 3600,
            budget.wrong_share * self.watched_s / self.frame_s,
            budget.music_wrong_share * self.music_s / self.frame_s,
        ]
        return np.maximum(allowed, _NOTHING)[:, None, None]


def _sum(parts: Sequence[_Counted]) -> _Counted:
    return replace(
        parts[0],
        table=np.stack([part.table for part in parts]).sum(axis=0, dtype=np.int32),
        n_true=np.stack([part.n_true for part in parts]).sum(axis=0),
        n_asked=np.stack([part.n_asked for part in parts]).sum(axis=0),
        watched_s=sum(part.watched_s for part in parts),
        music_s=sum(part.music_s for part in parts),
    )


def _counted(material: Material, spec: BundleSpec, grid: Grid) -> list[_Counted]:
    """Every fold's counts."""
    tape, fold = Tape(material.scored, spec), material.fold
    counter = Counter(tape, fold, N_FOLDS, material.is_scene, material.is_music)
    truths = [material.truth_of(label) for label in spec.labels]
    ranked = grid.ranked()
    tables = np.stack(
        [counter.count(index, truth, grid).reshape(len(Measure), N_FOLDS, -1) for index, truth in enumerate(truths)],
        axis=2,
    )[..., ranked]
    is_watched = np.array([name in material.watched for name in tape.names], np.bool_)
    return [
        _Counted(
            tables[:, index],
            np.array([np.count_nonzero(fold[truth.file] == index) for truth in truths]),
            np.array([np.count_nonzero(truth.is_asked & (fold == index)) for truth in truths]),
            float(tape.durations_s[is_watched & (fold == index)].sum()),
            float(tape.durations_s[material.is_music & (fold == index)].sum()),
            spec.output_hop / spec.sample_rate_hz,
        )
        for index in range(N_FOLDS)
    ]


@dataclass(frozen=True, eq=False)
class _Offer:
    """What the settings of every class are worth, and what they cost.

    Attributes:
        gains: What each finds, ``[C, S]``.
        costs: What is wrong, in units of the budget's three parts, ``[3, C, S]``.
    """

    gains: Floats
    costs: Floats

    def best(self, prices: Floats) -> Ints:
        """Each class's setting at these prices ``[3]``; among equals the one that detects less. ``[C]``."""
        worth = self.gains - np.tensordot(prices, self.costs, axes=1)
        return np.argmax(worth.round(_DIGITS), axis=1)


class _Market:
    """Where classes choose their settings at common prices.

    Args:
        folds: The counts of every fold.
        allowed: The settings that each class may take, bool ``[C, S]``.
    """

    def __init__(self, folds: Sequence[_Counted], allowed: Flags) -> None:
        self._folds, self._whole = folds, _sum(folds)
        self._rests = [self._whole.without(fold) for fold in folds]
        self._gains = [np.where(allowed, one.gains(), -np.inf) for one in (self._whole, *self._rests)]

    def choose(self, budget: Budget) -> Ints:
        """The place of every class's setting at the lowest prices that keep the budget.

        The folds keep the budget, each under what is best without it. One price after another is raised, first that
        of the part of the budget that is exceeded most.
        """
        offers = [
            _Offer(gains, _shrunk(one.wrong() / one.allowed(budget)))
            for one, gains in zip((self._whole, *self._rests), self._gains, strict=True)
        ]
        costs = [fold.wrong() / self._whole.allowed(budget) for fold in self._folds]
        prices = np.zeros(len(costs[0]))
        for _ in range(_ROUNDS):
            spent = _spent(offers[1:], costs, prices)
            part = int(np.argmax(spent))
            if spent[part] <= 1:
                break
            prices[part] = _lowest_price(offers[1:], costs, prices, part)
        return offers[0].best(prices)


def _shrunk(costs: Floats) -> Floats:
    """Costs ``[3, C, S]``, a share of each class's being that of all classes."""
    return (1 - PRIOR_WRONG) * costs + PRIOR_WRONG * costs.mean(axis=1, keepdims=True)


def _spent(rests: Sequence[_Offer], costs: Sequence[Floats], prices: Floats) -> Floats:
    """What the folds spend of the budget's parts, each under what is best without it: ``[3]``."""
    classes = list(range(len(costs[0][0])))
    return np.sum(
        [of_fold[:, classes, rest.best(prices)].sum(axis=1) for rest, of_fold in zip(rests, costs, strict=True)],
        axis=0,
    )


def _lowest_price(rests: Sequence[_Offer], costs: Sequence[Floats], prices: Floats, part: int) -> float:
    """The lowest price of one part of the budget at which the folds keep it, the others as they are."""
    low, high = max(float(prices[part]), _LOWEST_PRICE), _HIGHEST_PRICE
    tried = prices.copy()
    for _ in range(_HALVINGS):
        tried[part] = math.sqrt(low * high)
        low, high = (low, tried[part]) if _spent(rests, costs, tried)[part] <= 1 else (tried[part], high)
    return high
