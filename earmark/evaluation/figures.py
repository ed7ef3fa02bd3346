"""What was measured, for programs: the whole of ``figures.json``."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from earmark.evaluation.calibration import Reliability
from earmark.evaluation.events import Average, Tally
from earmark.evaluation.measures import APART, ClipMeasures, ClipSetMeasures, Evaluation, SceneMeasures
from earmark.evaluation.real import RealCounts, RealMeasures
from earmark.evaluation.real_comparison import RealComparison

Figures: TypeAlias = "dict[str, Figures | list[Figures] | list[int | float | None] | str | int | float | None]"
"""As ``figures.json``: NaN is null, shares are 0 to 1."""


def figures_of(evaluation: Evaluation) -> Figures:
    """Everything that the report says, for programs."""
    figures: Figures = {
        "bundle": evaluation.bundle.identity,
        "command": evaluation.command,
        "scenes": None if evaluation.scenes is None else _scene_figures(evaluation.scenes),
        "clips": None if evaluation.clips is None else _clip_set_figures(evaluation.clips),
        "real": None if evaluation.real is None else _real_figures(evaluation.real),
    }
    return figures


def quantile(seconds: Sequence[float], percent: float) -> float | None:
    """A percentile, to the microsecond; None of nothing."""
    return _rounded(float(np.percentile(seconds, percent))) if seconds else None


def _scene_figures(scenes: SceneMeasures) -> Figures:
    return {
        "files": scenes.n_files,
        "hours": _rounded(scenes.hours),
        "events": scenes.n_events,
        "ignored": scenes.n_ignored,
        "left_out": {**scenes.left_out},
        "event": _tally_figures(scenes.event),
        "onset": _tally_figures(scenes.onset),
        "segment": _tally_figures(scenes.segment),
        "psds1": _rounded(scenes.psds1.score),
        "psds2": _rounded(scenes.psds2.score),
        "onset_error_s": _delay_figures(scenes.delays.onset_errors_s),
        "decision_delay_s": _delay_figures(scenes.delays.decisions_s),
        "false_alarms_per_hour": _rounded(scenes.false_alarms_per_hour),
        "calibration_error": _rounded(scenes.reliability.expected_error),
        "reliability": _reliability_figures(scenes.reliability, "frames"),
        "labels": {
            label: {
                "event": _counts_figures(scenes.event, label),
                "onset": _counts_figures(scenes.onset, label),
                "segment": _counts_figures(scenes.segment, label),
                "psds1": _rounded(scenes.psds1.by_label.get(label, math.nan)),
                "psds2": _rounded(scenes.psds2.by_label.get(label, math.nan)),
                "false_alarms": alarms.count,
                "false_alarms_per_hour": _rounded(alarms.per_hour),
            }
            for label, alarms in scenes.false_alarms.items()
        },
    }


def _clip_set_figures(clips: ClipSetMeasures) -> Figures:
    return {
        "main": None if clips.main is None else _clip_figures(clips.main),
        APART: None if clips.apart is None else _clip_figures(clips.apart),
        "left_out": {**clips.left_out},
    }


def _clip_figures(clips: ClipMeasures) -> Figures:
    ranking = clips.ranking
    confused: list[Figures] = [{"true": true, "named": named, "clips": n} for true, named, n in clips.confused()]
    return {
        "files": clips.n_clips,
        "hours": _rounded(clips.hours),
        "accuracy": _rounded(ranking.accuracy),
        "top5": _rounded(ranking.top5),
        "mean_average_precision": _rounded(ranking.mean_average_precision),
        "lwlrap": _rounded(ranking.lwlrap),
        "by_score": _tally_figures(clips.by_score),
        "by_event": _tally_figures(clips.by_event),
        "confusions": confused,
        "labels": {
            label: {
                "named_right": _rounded(float(clips.confusions[place, place]) / counts.n_true),
                "by_score": _counts_figures(clips.by_score, label),
                "by_event": _counts_figures(clips.by_event, label),
            }
            for place, (label, counts) in enumerate(clips.by_event.by_label.items())
            if counts.n_true
        },
    }


def _real_figures(real: RealComparison) -> Figures:
    curves: Figures = {
        system: [{"threshold": point.threshold, **_real_counts(point.counts)} for point in curve]
        for system, curve in real.curves.items()
    }
    return {
        "files": len(real.ours.recordings),
        "hours": _rounded(real.ours.total.duration_s / 3600),
        "detectors": {detector.name: _real_detector(detector.measures) for detector in real.detectors},
        "curves": curves,
        "calibration_error": _rounded(real.reliability.expected_error),
        "reliability": _reliability_figures(real.reliability, "peaks"),
    }


def _reliability_figures(reliability: Reliability, what: str) -> Figures:
    return {
        what: [*reliability.counts.tolist()],
        "mean_score": [_rounded(value) for value in reliability.mean_score.tolist()],
        "true_share": [_rounded(value) for value in reliability.true_share.tolist()],
    }


def _real_detector(measures: RealMeasures) -> Figures:
    return {
        **_real_counts(measures.total),
        "left_out": {**measures.left_out},
        "kinds": {kind: _real_counts(counts) for kind, counts in measures.by_kind.items()},
        "labels": {label: _real_counts(counts) for label, counts in measures.by_label.items()},
        "unjudged": {
            label: {kind: {"events": some.n_events, "seconds": _rounded(some.seconds)} for kind, some in kinds.items()}
            for label, kinds in measures.unjudged.items()
        },
    }


def _real_counts(counts: RealCounts) -> Figures:
    return {
        "asked": counts.asked,
        "found": counts.found,
        "found_share": _rounded(counts.found_share),
        "wrong_events": counts.wrong.n_events,
        "wrong_events_per_hour": _rounded(counts.wrong_per_hour),
        "wrong_seconds": _rounded(counts.wrong.seconds),
        "wrong_time_share": _rounded(counts.wrong_share),
    }


def _tally_figures(tally: Tally) -> Figures:
    return {"micro": _average_figures(tally.micro), "macro": _average_figures(tally.macro)}


def _average_figures(average: Average) -> Figures:
    return {
        "precision": _rounded(average.precision),
        "recall": _rounded(average.recall),
        "f1": _rounded(average.f1),
    }


def _counts_figures(tally: Tally, label: str) -> Figures:
    counts = tally.by_label[label]
    average = _average_figures(Average(counts.precision, counts.recall, counts.f1))
    return {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, **average}


def _delay_figures(seconds: Sequence[float]) -> Figures:
    return {"events": len(seconds), "median": quantile(seconds, 50), "p90": quantile(seconds, 90)}


def _rounded(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
