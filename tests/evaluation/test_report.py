import json
import math
from pathlib import Path

import numpy as np
import pytest

from earmark.contracts.bundle import Bundle
from earmark.evaluation.annotations import Annotations, LabelledClip, LabelledEvent
from earmark.evaluation.figures import figures_of, quantile
from earmark.evaluation.measures import Evaluation, measure_clips, measure_scenes
from earmark.evaluation.report import draw, headlines, write_report
from earmark.evaluation.scoring import ScoredFiles

FRAME_S = 0.04


def scored(bundle: Bundle, truth: Annotations) -> ScoredFiles:
    """Scores of 10 s that know the truth."""
    labels = bundle.spec.labels
    scores = {}
    for name, events in truth.items():
        scores[name] = np.full((250, len(labels)), 0.01, np.float32)
        for event in events:
            first, end = round(event.onset_s / FRAME_S), round(event.offset_s / FRAME_S)
            scores[name][first:end, labels.index(event.label)] = 0.99
    return ScoredFiles(labels, FRAME_S, scores, dict.fromkeys(truth, 10.0))


TRUTH = {"a": [LabelledEvent(1.0, 3.0, "low"), LabelledEvent(2.0, 4.0, "mid")], "b": []}


@pytest.fixture
def perfect(tiny_bundle: Bundle) -> Evaluation:
    scores = scored(tiny_bundle, TRUTH)
    clips = [LabelledClip("a", "low"), LabelledClip("b", "high")]
    return Evaluation(
        tiny_bundle,
        "earmark evaluate",
        measure_scenes(TRUTH, scores, tiny_bundle.spec),
        measure_clips(clips, scores, tiny_bundle.spec),
    )


def test_scores_that_know_the_truth_are_perfect(perfect: Evaluation):
    scenes = figures_of(perfect)["scenes"]
    assert isinstance(scenes, dict)
    everything = {"precision": 1, "recall": 1, "f1": 1}
    for name in ("event", "onset", "segment"):
        assert scenes[name] == {"micro": everything, "macro": everything}
    assert scenes["psds1"] == scenes["psds2"] == 1
    assert scenes["false_alarms_per_hour"] == 0
    assert scenes["onset_error_s"] == {"events": 2, "median": 0, "p90": 0}
    # 3 frames of 40 ms last the minimum duration of 120 ms, and one more is the median's
    assert scenes["decision_delay_s"] == {"events": 2, "median": 0.16, "p90": 0.16}


def test_nothing_is_said_where_there_is_nothing(tiny_bundle: Bundle, tmp_path: Path):
    quiet: Annotations = {"a": [], "b": []}
    scenes = measure_scenes(quiet, scored(tiny_bundle, quiet), tiny_bundle.spec)
    evaluation = Evaluation(tiny_bundle, "earmark evaluate", scenes, None)
    figures = figures_of(evaluation)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert dict(headlines(evaluation))["PSDS1 / PSDS2"] == "– / –"  # noqa: RUF001 -- as printed
    write_report(tmp_path, evaluation)
    assert "nan" not in (tmp_path / "report.md").read_text().lower()


def test_every_picture_is_in_the_page(perfect: Evaluation, tmp_path: Path):
    write_report(tmp_path, perfect)
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    for name in draw(perfect):
        assert f"![{name}]({name})" in text
        assert f'<img alt="{name}" src="data:image/png;base64,iVBOR' in page


def test_the_tables_of_the_text_are_whole(perfect: Evaluation, tmp_path: Path):
    write_report(tmp_path, perfect)
    table: list[str] = []
    for line in [*(tmp_path / "report.md").read_text().splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
        elif table:
            assert len(table) >= 2
            assert table[1].startswith("|---|")
            assert len({row.count("|") for row in table}) == 1
            table = []


def test_quantiles():
    assert quantile([], 50) is None
    assert quantile([1.0, 2.0, 4.0], 50) == 2
    assert not math.isnan(quantile([1.0], 90) or math.nan)
