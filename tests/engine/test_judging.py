"""Which judges fit which bundle, and what is said about one that does not."""

import re

import numpy as np
import pytest
from pydantic import ValidationError

from earmark.contracts.bundle import load_bundle
from earmark.contracts.errors import BundleError, ConfigError
from engine.groups import GroupConfig, with_groups
from engine.judging import ConfirmConfig, plan_judging
from engine.runtimes.judge import Judge
from tests.support.judge_bundle import write_judge_bundle
from tests.support.tiny_bundle import write_tiny_bundle

FRONT_END_8K = {"sample_rate_hz": 8_000, "fmax_hz": 4_000.0}


def refusal(bundle, folder, **settings):
    """What is said about a judge."""
    with pytest.raises((BundleError, ConfigError)) as caught:
        plan_judging(bundle, ConfirmConfig(bundle=str(folder), **{"after_s": 0.2, **settings}))
    return str(caught.value)


def test_samples_are_whole_hops_of_the_judged_bundle(tiny_bundle, tmp_path):
    folder = write_judge_bundle(tmp_path)
    judging = plan_judging(tiny_bundle, ConfirmConfig(bundle=str(folder), after_s=0.21, again_s=1.01))
    assert (judging.after, judging.again, judging.window) == (5 * 640, 25 * 640, 9_600)
    least = plan_judging(tiny_bundle, ConfirmConfig(bundle=str(folder), after_s=0, again_s=1e-6))
    assert (least.after, least.again) == (0, 640)


def test_one_that_is_nowhere_is_named(tiny_bundle):
    assert "got 'nowhere'" in refusal(tiny_bundle, "nowhere")


def test_another_rate_is_named(tiny_bundle, tmp_path):
    spec = load_bundle(write_judge_bundle(tmp_path / "same")).spec
    other = {**spec.front_end.model_dump(), **FRONT_END_8K}
    said = refusal(tiny_bundle, write_judge_bundle(tmp_path / "other", front_end=other))
    assert said.startswith("expected a judge that hears 16000 Hz as 'tiny' does, got 'judge', which hears 8000 Hz")


def test_another_front_end_is_fine(tiny_bundle, tmp_path):
    spec = load_bundle(write_judge_bundle(tmp_path / "same")).spec
    other = {**spec.front_end.model_dump(), "hop_length": 160, "win_length": 400, "fmin_hz": 20.0}
    folder = write_judge_bundle(tmp_path / "other", front_end=other, hops_per_score=60)
    judging = plan_judging(tiny_bundle, ConfirmConfig(bundle=str(folder), after_s=0.2))
    judge = Judge(judging.bundle, judging.window)
    assert judge(np.zeros((2, judging.window), np.float32)).shape == (2, 1, 4)


def test_a_window_that_a_restart_does_not_bring_back_is_named(tiny_bundle, tmp_path):
    long = write_judge_bundle(tmp_path / "long", hops_per_score=51)
    assert "hears the warm-up of 'tiny' (1 s) at most, got 'judge', which hears 1.02 s" in refusal(tiny_bundle, long)
    second = write_tiny_bundle(tmp_path / "second", name="second")
    assert "which hears 1.48 s" in refusal(tiny_bundle, second, window_s=1.5)
    whole = plan_judging(tiny_bundle, ConfirmConfig(bundle=str(second), window_s=1.0, after_s=0.2))
    assert whole.window == 16_000


def test_a_window_without_the_onset_is_named(tiny_bundle, tmp_path):
    said = refusal(tiny_bundle, write_judge_bundle(tmp_path), after_s=0.6)
    assert said.startswith("expected after_s below the judge's window (0.6 s), got 0.6 s")


def test_labels_that_there_are_not(tiny_bundle, tmp_path):
    folder = write_judge_bundle(tmp_path / "judge")
    assert "model 'tiny' has no label hihg; did you mean high?" in refusal(tiny_bundle, folder, exempt=("hihg",))
    assert "has no label dog; it has low, mid" in refusal(tiny_bundle, folder, exempt=("dog", "low"))
    grouped = with_groups(tiny_bundle, {"all": GroupConfig(labels=("low",))})
    assert "all" not in plan_judging(grouped, ConfirmConfig(bundle=str(folder), after_s=0, exempt=("all",))).asked


def test_a_judge_of_nothing_is_named(tiny_bundle, tmp_path):
    stranger = write_judge_bundle(tmp_path / "stranger", labels=("dog", "cat"))
    assert "knows one of the labels of 'tiny' that are not exempt, got 'judge' with dog, cat" in refusal(
        tiny_bundle, stranger
    )
    assert "that are not exempt" in refusal(
        tiny_bundle, write_judge_bundle(tmp_path / "judge"), exempt=tiny_bundle.spec.labels
    )


def test_a_threshold_of_all_labels_goes_before_the_judges_own(tiny_bundle, tmp_path):
    folder = write_judge_bundle(tmp_path)
    own = plan_judging(tiny_bundle, ConfirmConfig(bundle=str(folder), after_s=0))
    given = plan_judging(tiny_bundle, ConfirmConfig(bundle=str(folder), after_s=0, threshold=0.9))
    scores = np.full((1, 4), 0.6, np.float32)
    assert own.answer("low", scores, 0, 0)[1]
    assert not given.answer("low", scores, 0, 0)[1]
    assert own.identity != given.identity
    assert own.identity == plan_judging(tiny_bundle, ConfirmConfig(bundle=str(folder), after_s=0)).identity


def test_a_model_that_scores_no_window_is_named(tmp_path):
    """One whose scores are not as many as its bundle.json says."""
    bundle = load_bundle(write_judge_bundle(tmp_path / "judge", hops_per_score=15))
    with pytest.raises(BundleError, match=re.escape(f"{bundle.model_path}: expected scores of a window of 0.6 s")):
        Judge(bundle, 9_600)


@pytest.mark.parametrize("wrong", [{"again_s": 0}, {"after_s": -1}, {"threshold": 0}, {"window_s": 0}, {"labels": []}])
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValidationError):
        ConfirmConfig(bundle="judge", **wrong)
