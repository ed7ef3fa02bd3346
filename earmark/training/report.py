"""What a model scores on the dev set: figures for ``bundle.json`` and details for the card."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.training.devset import Clips, DevSet
from earmark.training.feed import Examples
from earmark.training.metrics import Active, onsets, segment_score
from engine.frontend import Features

Scorer = Callable[[Features], NDArray[np.float32]]
"""Features ``[B, T, n_mels]`` from fresh state to scores or logits ``[B, T / hops_per_score, C]``."""

Decider = Callable[[NDArray[np.float32]], Active]
"""Scores ``[B, T, C]`` to where each class is on."""

_N_CONFUSIONS = 12


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        figures: By name; see the card's explanations.
        by_label: Share of a class's clips that were named right.
        confusions: The most frequent (truth, answer, clips).
    """

    figures: dict[str, float]
    by_label: dict[str, float]
    confusions: list[tuple[str, str, int]]


def measure(score: Scorer, decide: Decider, dev: DevSet, labels: tuple[str, ...], frame_s: float) -> Report:
    """Measure a model on all of the dev set.

    Args:
        score: Gives scores in [0, 1].
        decide: Applies the bundle's thresholds.
        dev: What it is measured on.
        labels: The classes.
        frame_s: Seconds from one score to the next.
    """
    peaks, truth = clip_peaks(score, dev.clips), dev.clips.labels
    answers = peaks.argmax(axis=1)
    right = answers == truth
    segments = segment_score(decide(score(dev.scenes.features)), dev.scenes.labels, round(1 / frame_s))
    n_empty, n_frames, _ = dev.empty.labels.shape
    figures = {
        "esc50_dev_accuracy": float(right.mean()),
        "esc50_dev_top5": float(np.mean((np.argsort(peaks, axis=1)[:, -5:] == truth[:, None]).any(axis=1))),
        "esc50_dev_found": float(np.mean(peaks[np.arange(len(truth)), truth] >= 0.5)),
        "scene_segment_f1": segments.f_score(),
        "scene_segment_precision": segments.precision,
        "scene_segment_recall": segments.recall,
        "made_sounds_found": found_share(decide(score(dev.made.features)), dev.made),
        **{
            f"meeting{i}_speech_recall": _recall(decide(score(meeting.features)), meeting, round(1 / frame_s))
            for i, meeting in enumerate(dev.meetings)
        },
        "background_false_alarms_per_hour": onsets(decide(score(dev.empty.features)))
        / (n_empty * n_frames * frame_s / 3600),
    }
    wrong = Counter(zip(truth[~right].tolist(), answers[~right].tolist(), strict=True))
    return Report(
        {name: round(value, 4) for name, value in figures.items()},
        {labels[i]: round(float(right[truth == i].mean()), 3) for i in sorted(set(truth.tolist()))},
        [(labels[label], labels[answer], count) for (label, answer), count in wrong.most_common(_N_CONFUSIONS)],
    )


def _recall(active: Active, examples: Examples, frames: int) -> float:
    return segment_score(active, examples.labels, frames).recall


def accuracy(score: Scorer, clips: Clips) -> float:
    """Share of the clips whose largest score, of any class at any time, is the right class's."""
    return float(np.mean(clip_peaks(score, clips).argmax(axis=1) == clips.labels))


def clip_peaks(score: Scorer, clips: Clips, batch: int = 64) -> NDArray[np.float32]:
    """The largest score of each class in each clip, float32 ``[N, C]``."""
    starts = range(0, len(clips.labels), batch)
    return np.concatenate([score(clips.features[start : start + batch]).max(axis=1) for start in starts])


def found_share(active: Active, scenes: Examples) -> float:
    """Share of the scenes' events whose class is on at some time while they sound; 1 where there is no event."""
    on = active.transpose(0, 2, 1)
    found = [
        bool((on[row, label] & frames).any())
        for row in range(len(on))
        for label, frames in zip(scenes.event_labels[row], scenes.event_frames[row], strict=True)
        if label >= 0
    ]
    return float(np.mean(found)) if found else 1.0
