import math

import numpy as np
import pytest
from sed_scores_eval import intersection_based
from sed_scores_eval.base_modules.scores import create_score_dataframe

from earmark.evaluation.annotations import Annotations, LabelledEvent, labels_of
from earmark.evaluation.psds import PSDS1, PSDS2, Criteria, _joined, measure_psds
from earmark.evaluation.scoring import ScoredFiles
from tests.evaluation.made import make_truth

FRAME_S = 0.08
LABELS = ("bell", "cat", "dog")


def made_scores(rng: np.random.Generator, truth: Annotations, levels: int) -> ScoredFiles:
    """Scores that know a little of the truth; of so many levels, because equal scores are the hard case."""
    scores = {}
    for name, events in truth.items():
        walk = 0.7 * rng.normal(size=(125, 3)).cumsum(axis=0) / np.sqrt(1 + np.arange(125))[:, None]
        for event in events:
            walk[int(event.onset_s / FRAME_S) : int(event.offset_s / FRAME_S), LABELS.index(event.label)] += 1.5
        scores[name] = (np.round(levels / (1 + np.exp(1 - walk))) / levels).astype(np.float32)
    return ScoredFiles(LABELS, FRAME_S, scores, dict.fromkeys(truth, 125 * FRAME_S + 0.013))


def by_sed_scores_eval(truth: Annotations, scored: ScoredFiles, criteria: Criteria) -> tuple[float, dict[str, float]]:
    present = sorted(labels_of(truth))
    columns = [LABELS.index(label) for label in present]
    stamps = np.arange(126) * FRAME_S
    score, by_label, *_ = intersection_based.psds(
        {name: create_score_dataframe(s[:, columns], stamps, present) for name, s in scored.scores.items()},
        {name: [(e.onset_s, e.offset_s, e.label) for e in events] for name, events in truth.items()},
        scored.durations_s,
        dtc_threshold=criteria.dtc,
        gtc_threshold=criteria.gtc,
        cttc_threshold=criteria.cttc,
        alpha_ct=criteria.alpha_ct,
        alpha_st=criteria.alpha_st,
        max_efpr=criteria.max_fp_per_hour,
    )
    return score, by_label


@pytest.mark.parametrize("levels", [8, 1_000_000])
@pytest.mark.parametrize("max_fp_per_hour", [100.0, 2000.0])
@pytest.mark.parametrize("criteria", [PSDS1, PSDS2], ids=["PSDS1", "PSDS2"])
@pytest.mark.parametrize("seed", range(4))
def test_the_score_agrees_with_sed_scores_eval(seed: int, criteria: Criteria, max_fp_per_hour: float, levels: int):
    rng = np.random.default_rng(seed)
    truth = {name: _joined(events) for name, events in make_truth(rng, n_files=8).items()}
    scored = made_scores(rng, truth, levels)
    criteria = Criteria(criteria.dtc, criteria.gtc, criteria.cttc, criteria.alpha_ct, max_fp_per_hour=max_fp_per_hour)
    score, by_label = by_sed_scores_eval(truth, scored, criteria)
    ours = measure_psds(truth, scored, criteria)
    assert ours.score == pytest.approx(score, abs=1e-9)
    assert ours.by_label == pytest.approx(by_label, abs=1e-9)
    assert max(by_label.values()) > 0


def test_events_of_a_class_that_touch_or_overlap_are_one():
    parts = {"a": [LabelledEvent(1, 2, "dog"), LabelledEvent(2, 3, "dog"), LabelledEvent(2.5, 4, "dog")]}
    whole = {"a": [LabelledEvent(1, 4, "dog")]}
    scored = made_scores(np.random.default_rng(2), whole, 100)
    assert measure_psds(parts, scored, PSDS2).score == measure_psds(whole, scored, PSDS2).score > 0


def scored_as(truth: Annotations, high: float, low: float) -> ScoredFiles:
    scores = {name: np.full((125, 3), low, np.float32) for name in truth}
    for name, events in truth.items():
        for event in events:
            scores[name][
                round(event.onset_s / FRAME_S) : round(event.offset_s / FRAME_S), LABELS.index(event.label)
            ] = high
    return ScoredFiles(LABELS, FRAME_S, scores, dict.fromkeys(truth, 10.0))


TRUTH = {
    "a": [LabelledEvent(0.8, 1.6, "dog"), LabelledEvent(1.6, 4.0, "cat"), LabelledEvent(4.8, 8.0, "dog")],
    "quiet": [],
}


@pytest.mark.parametrize("criteria", [PSDS1, PSDS2])
def test_scores_that_know_the_truth_get_all(criteria: Criteria):
    measured = measure_psds(TRUTH, scored_as(TRUTH, 0.9, 0.1), criteria)
    assert measured.score == pytest.approx(1)
    assert measured.by_label == pytest.approx({"cat": 1, "dog": 1})


@pytest.mark.parametrize("criteria", [PSDS1, PSDS2])
def test_the_score_depends_on_the_scores_order_only(criteria: Criteria):
    rng = np.random.default_rng(5)
    scored = made_scores(rng, TRUTH, 1000)
    squared = ScoredFiles(LABELS, FRAME_S, {n: s**2 for n, s in scored.scores.items()}, scored.durations_s)
    assert measure_psds(TRUTH, scored, criteria).score == measure_psds(TRUTH, squared, criteria).score


def test_nothing_to_find_and_nothing_heard():
    none = {"a": [], "b": []}
    assert math.isnan(measure_psds(none, scored_as(none, 1, 0), PSDS1).score)
    short = ScoredFiles(LABELS, FRAME_S, {"a": np.zeros((0, 3), np.float32)}, {"a": 0.01})
    assert measure_psds({"a": [LabelledEvent(0, 0.01, "dog")]}, short, PSDS2).score == 0
    constant = measure_psds(TRUTH, scored_as(TRUTH, 0, 0), PSDS1)
    assert constant.score == 0
