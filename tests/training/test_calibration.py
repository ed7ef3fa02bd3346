"""Scores become probabilities, in the step's last layer."""

import numpy as np
import onnx
import pytest

from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.material import Material
from earmark.evaluation.peaks import Peaks
from earmark.evaluation.real import RealRecording
from earmark.evaluation.scoring import ScoredFiles
from earmark.training.calibration import Calibration
from earmark.training.onnx_graph import onnx_model
from earmark.training.streaming import StreamedModel
from tests.support.tiny_bundle import LABELS
from tests.training.random_model import random_model

SLOPE, BIAS = 0.5, -2.0


def test_a_class_that_is_only_ignored_in_a_scene_is_unknown_there():
    scored = ScoredFiles(LABELS, 0.04, {"a": np.full((4, len(LABELS)), 0.5, np.float32)}, {"a": 0.16})
    first, second = LabelledEvent(0.0, 0.1, LABELS[0]), LabelledEvent(0.0, 0.1, LABELS[1])
    peaks = Peaks.of_scenes({"a": [first]}, scored, {"a": [first, second]})
    assert peaks.is_true.tolist() == [[True, *[False] * (len(LABELS) - 1)]]
    assert peaks.is_known.tolist() == [[True, False, *[True] * (len(LABELS) - 2)]]


def drawn(seed, n_files, *, is_real, expected=LABELS):
    """Files of ten equal frames, whose classes are there with probability ``sigmoid(SLOPE * logit + BIAS)``."""
    rng = np.random.default_rng(seed)
    scores, scenes, recordings = {}, {}, []
    for place in range(n_files):
        name, logits = f"{'real' if is_real else 'scene'}{place}.wav", rng.normal(0, 4, len(LABELS))
        scores[name] = np.tile(1 / (1 + np.exp(-logits)), (10, 1)).astype(np.float32)
        is_there = rng.random(len(LABELS)) < 1 / (1 + np.exp(-(SLOPE * logits + BIAS)))
        there = [label for label, is_one in zip(LABELS, is_there, strict=True) if is_one]
        scenes[name] = [LabelledEvent(0.0, 0.4, label) for label in there]
        named = next((label for label in there if label in expected), "")
        recordings.append(RealRecording(name, named, frozenset(there) - {named}, "event", "", 0.4))
    scored = ScoredFiles(LABELS, 0.04, scores, dict.fromkeys(scores, 0.4))
    return Material(scored, {}, recordings) if is_real else Material(scored, scenes)


def joined(real, scenes):
    scored = real.scored
    all_scores = ScoredFiles(
        LABELS, 0.04, scored.scores | scenes.scored.scores, scored.durations_s | scenes.scored.durations_s
    )
    return Material(all_scores, scenes.scenes, real.recordings)


def test_peaks_that_were_too_sure_are_right_as_often_as_they_say():
    calibration = Calibration.fit(joined(drawn(0, 600, is_real=True), drawn(1, 50, is_real=False)))
    fresh = drawn(2, 2000, is_real=False)
    before = Peaks.of_scenes(fresh.scenes, fresh.scored).reliability
    after = Peaks.of_scenes(fresh.scenes, calibration.applied(fresh).scored).reliability
    assert before.expected_error > 0.15
    assert after.expected_error < 0.05


def test_a_class_with_few_recordings_follows_all_classes():
    """One that the list never asks for is neither silenced nor left as it was."""
    real = drawn(3, 300, is_real=True, expected=LABELS[1:])
    unasked = [one for one in real.recordings if "low" not in one.allowed][:3]
    others = [one for one in real.recordings if "low" in one.allowed]
    calibration = Calibration.fit(joined(Material(real.scored, {}, [*unasked, *others]), drawn(4, 50, is_real=False)))
    np.testing.assert_allclose(calibration.slope[0], calibration.slope[1:].mean(), rtol=0.3)
    assert abs(calibration.bias[0] - calibration.bias[1:].mean()) < 1


def test_what_is_allowed_counts_neither_way():
    real = drawn(5, 50, is_real=True)
    peaks = Peaks.of_recordings(real.recordings, real.scored)
    for row, one in enumerate(real.recordings):
        known = {label for label, is_known in zip(LABELS, peaks.is_known[row], strict=True) if is_known}
        assert not known & one.allowed
        assert one.expected in known | {""}


@pytest.mark.parametrize("shapes", [(10, 4), (2, 4), (1, 4)])
def test_a_peak_is_the_highest_median_of_three_frames(shapes):
    scores = np.random.default_rng(0).random(shapes).astype(np.float32)
    scored = ScoredFiles(LABELS, 0.04, {"a.wav": scores}, {"a.wav": 0.4})
    expected = scores.max(axis=0)
    if len(scores) >= 3:
        expected = np.median(np.stack([scores[:-2], scores[1:-1], scores[2:]]), axis=0).max(axis=0)
    np.testing.assert_array_equal(Peaks.of_scenes({"a.wav": []}, scored).scores[0], expected)


def test_the_step_scores_what_was_promised():
    model = random_model(5)
    step, states = onnx_model(model).SerializeToString(), model.state_specs()
    features = np.random.default_rng(1).normal(-5, 3, (2, 40, model.n_mels)).astype(np.float32)
    rng = np.random.default_rng(2)
    n_labels = model.n_labels
    calibration = Calibration(rng.uniform(0.5, 2, n_labels), rng.uniform(-3, 1, n_labels))
    scores = StreamedModel(step, states).scores(features, 10)
    labels = tuple(map(str, range(n_labels)))
    promised = calibration.applied(Material(ScoredFiles(labels, 0.04, {"a": scores[0]}, {"a": 0.8}), {"a": []}))
    folded = calibration.folded(step)
    given = StreamedModel(folded, states).scores(features, 10)
    np.testing.assert_allclose(given[0], promised.scored.scores["a"], atol=1e-5)
    assert len(onnx.load_from_string(folded).graph.node) == len(onnx.load_from_string(step).graph.node)
