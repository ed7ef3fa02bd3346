"""Scores become events by the engine's own `Smoother`, so that what is measured is what a subscriber is told."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from earmark.contracts.bundle import BundleSpec
from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.scoring import ScoredFiles
from engine.runtimes import Scores
from engine.smoothing import Smoother, Transition, close_all

_AT_ONCE = 256


@dataclass(frozen=True, order=True)
class DetectedEvent(LabelledEvent):
    """An event that the engine would tell of.

    Attributes:
        decided_s: Audio that had to be heard before its onset was told.
        score: Its largest smoothed score.
    """

    decided_s: float
    score: float


def decide(scored: ScoredFiles, spec: BundleSpec) -> dict[str, list[DetectedEvent]]:
    """The events of each file, by onset; what is open at a file's end ends there, as with ``earmark detect``.

    Args:
        scored: Scores by a bundle with ``spec``'s labels and frames.
        spec: Gives the smoothing.
    """
    found: dict[str, list[DetectedEvent]] = {}
    for names in _equally_long(scored):
        told = _smooth(np.stack([scored.scores[name] for name in names]), spec)
        found.update(zip(names, told, strict=True))
    return {name: found[name] for name in scored.scores}


def _equally_long(scored: ScoredFiles) -> Iterator[Sequence[str]]:
    by_length: defaultdict[int, list[str]] = defaultdict(list)
    for name, scores in scored.scores.items():
        by_length[len(scores)].append(name)
    for names in by_length.values():
        for first in range(0, len(names), _AT_ONCE):
            yield names[first : first + _AT_ONCE]


def _smooth(scores: Scores, spec: BundleSpec) -> list[list[DetectedEvent]]:
    """The events in scores ``[B, T, C]``."""
    n_files, n_frames = len(scores), int(scores.shape[1])
    if not n_frames:
        return [[] for _ in range(n_files)]
    smoother = Smoother(spec)
    smoother.grow(n_files)
    for slot in range(n_files):
        smoother.configure(slot, {})
    begin, silence = np.zeros(n_files, np.int64), np.zeros((n_files, n_frames), np.float64)
    told = smoother.update(np.arange(n_files), begin, scores, silence)
    for slot in range(n_files):
        told += close_all(smoother.save(slot), slot, n_frames * spec.output_hop)
    decided = {(t.slot, t.label, t.onset): t.decided for t in told if t.offset is None}
    events: list[list[DetectedEvent]] = [[] for _ in range(n_files)]
    for end in told:
        if end.offset is not None:
            events[end.slot].append(_event(end, end.offset, decided[end.slot, end.label, end.onset], spec))
    return [sorted(of_file) for of_file in events]


def _event(end: Transition, offset: int, decided: int, spec: BundleSpec) -> DetectedEvent:
    rate = spec.sample_rate_hz
    return DetectedEvent(end.onset / rate, offset / rate, end.label, decided / rate, end.score_peak)
