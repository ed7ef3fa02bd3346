"""Decisions about files against the engine's, on made scenes and on random scores."""

import numpy as np
import pytest

from earmark.contracts.bundle import Smoothing
from earmark.evaluation.decisions import DetectedEvent, decide
from earmark.evaluation.scoring import ScoredFiles, score_files
from engine.detector import Detector
from tests.evaluation.test_scoring import RATE_HZ, tones, write_wav


def test_events_are_the_detectors(tiny_bundle, tmp_path):
    lengths_s = {"a": 2.0, "b": 3.0, "c": 2.0, "long": 14.3, "e": 0.02}
    files = {name: tones(seconds, seed) for seed, (name, seconds) in enumerate(lengths_s.items())}
    for name, pcm in files.items():
        write_wav(tmp_path / name, pcm)
    found = decide(score_files(tiny_bundle, tmp_path, list(files)), tiny_bundle.spec)
    assert list(found) == list(files)
    assert sum(map(len, found.values())) > 8
    for name, pcm in files.items():
        detector = Detector(tiny_bundle.folder)
        told = detector.feed(pcm, stream=name) + detector.end()
        expected = sorted(
            (e.onset_sample / RATE_HZ, e.offset_sample / RATE_HZ, e.label, round(e.score_peak, 5))
            for e in told
            if e.phase == "offset"
        )
        got = [(e.onset_s, e.offset_s, e.label, round(e.score, 5)) for e in found[name]]
        assert [event[:3] for event in got] == [event[:3] for event in expected]
        assert [event[3] for event in got] == pytest.approx([event[3] for event in expected], abs=1e-4)


def test_an_event_that_is_open_ends_with_the_file_and_knows_when_it_was_told(tiny_bundle):
    spec = tiny_bundle.spec.model_copy(update={"smoothing": Smoothing(median_frames=3, min_duration_s=0.2)})
    scores = np.zeros((25, 4), np.float32)
    scores[10:, 1] = 0.8
    found = decide(ScoredFiles(spec.labels, 0.04, {"a": scores}, {"a": 1.0}), spec)
    assert found == {"a": [DetectedEvent(0.4, 1.0, "mid", decided_s=pytest.approx(0.64), score=pytest.approx(0.8))]}


def test_more_files_than_fit_at_once(tiny_bundle):
    rng = np.random.default_rng(0)
    scores = {str(i): rng.uniform(0, 1, (30, 4)).astype(np.float32) ** 2 for i in range(300)}
    scored = ScoredFiles(tiny_bundle.spec.labels, 0.04, scores, dict.fromkeys(scores, 1.2))
    found = decide(scored, tiny_bundle.spec)
    for name in ("0", "255", "256", "299"):
        alone = ScoredFiles(scored.labels, 0.04, {name: scores[name]}, {name: 1.2})
        assert found[name] == decide(alone, tiny_bundle.spec)[name]
