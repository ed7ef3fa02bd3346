"""Tuning: the fast simulation against the engine's smoother, fast counts against the metrics, and what is chosen."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.app.cli import run_command
from earmark.contracts.bundle import Smoothing, load_bundle, shipped
from earmark.evaluation.annotations import LabelledEvent, write_tsv
from earmark.evaluation.counting import ClassTruth, Counter, Grid
from earmark.evaluation.decisions import decide
from earmark.evaluation.events import count_events, count_false_alarms, within_collar
from earmark.evaluation.scoring import ScoredFiles, score_files
from earmark.evaluation.segments import count_segments
from earmark.evaluation.simulation import Runs, Stretches, Tape
from earmark.evaluation.tuning import GRID, PRIOR_EVENTS, tune, with_smoothing
from tests.evaluation.test_scoring import tones, write_wav
from tests.support.tiny_bundle import LABELS, write_tiny_bundle

FRAME_S = 0.04


def wavering(seed, lengths, n_labels=4):
    """Scores that rise and fall slowly enough to make events, and hit thresholds exactly at times."""
    rng = np.random.default_rng(seed)
    scores = {}
    for place, n_frames in enumerate(lengths):
        noise = np.cumsum(rng.normal(0, 1, (n_frames, n_labels)), axis=0) + rng.normal(0, 1, (n_frames, n_labels))
        scores[f"{place}.wav"] = np.round(1 / (1 + np.exp(-noise)), 1).astype(np.float32)
    durations_s = {name: len(s) * FRAME_S + 0.011 for name, s in scores.items()}
    return ScoredFiles(LABELS, FRAME_S, scores, durations_s)


def smoothed(spec, smoothing):
    return spec.model_copy(update={"smoothing": smoothing, "smoothing_by_label": {}})


SMOOTHINGS = st.builds(
    lambda low, extra, median, duration_s, gap_s: Smoothing(
        onset_threshold=round(low + extra, 2),
        offset_threshold=low,
        median_frames=median,
        min_duration_s=duration_s,
        min_gap_s=gap_s,
    ),
    st.sampled_from([0.1, 0.3, 0.45]),
    st.sampled_from([0, 0.1, 0.4]),
    st.sampled_from(range(1, 26, 2)),
    st.sampled_from([0, 0.04, 0.05, 0.12, 0.5]),
    st.sampled_from([0, 0.04, 0.1, 0.24, 1.0]),
)
LENGTHS = st.lists(st.integers(0, 80), min_size=1, max_size=5)


@given(seed=st.integers(0, 10**6), lengths=LENGTHS, smoothing=SMOOTHINGS, delay=st.sampled_from([0, 0, 1, 2, 5]))
@settings(max_examples=200, deadline=None)
def test_simulated_events_are_the_smoothers(tiny_bundle, seed, lengths, smoothing, delay):
    spec = smoothed(tiny_bundle.spec, smoothing).model_copy(update={"delay_frames": delay})
    scored = wavering(seed, lengths)
    told = decide(scored, spec)
    tape = Tape(scored, spec)
    shortest = tape.frames_at_least(smoothing.min_duration_s)
    for index, label in enumerate(spec.labels):
        track = tape.smoothed(index, smoothing.median_frames, smoothing.offset_threshold)
        lower, upper = Runs.of(track, smoothing.offset_threshold), Runs.of(track, smoothing.onset_threshold)
        gap_frames = tape.frames_at_least(smoothing.min_gap_s)
        stretches = Stretches.of(tape, lower, smoothing.median_frames, gap_frames)
        onsets = stretches.onsets([upper], tape.reach)[0]
        is_event = (onsets >= 0) & (stretches.end - onsets >= shortest)
        first = tape.first[stretches.file]
        begin, end = tape.seconds(onsets - first), tape.seconds(stretches.offset - first)
        simulated = [(tape.names[stretches.file[q]], begin[q], end[q]) for q in np.flatnonzero(is_event)]
        assert simulated == [
            (n, e.onset_s, e.offset_s) for n, events in told.items() for e in events if e.label == label
        ]


SMALL = Grid((1, 3, 9), (0.2, 0.5, 0.8), (0.0, 0.1, 0.4), (0.3, 0.5, 0.9), (0.0, 0.12))


def near(scored, spec, seed):
    """A truth near what is detected, in some of the files, with events that touch and overlap; at random places too."""
    rng = np.random.default_rng(seed)
    truth = {name: [] for name in scored.scores}
    for name, events in decide(scored, smoothed(spec, Smoothing(median_frames=1, min_gap_s=0.1))).items():
        for event in events:
            for _ in range(rng.integers(0, 3) if name != "0.wav" else 0):
                onset_s = max(0.0, event.onset_s + rng.choice([0.0, 0.2, -0.2, rng.normal(0, 0.15)]))
                offset_s = max(onset_s + 0.01, event.offset_s + rng.normal(0, 0.2))
                truth[name].append(LabelledEvent(float(onset_s), float(offset_s), event.label))
    return {name: sorted(events) for name, events in truth.items()}


def of_class(truth, label):
    events = [(i, e.onset_s, e.offset_s) for i, n in enumerate(truth) for e in truth[n] if e.label == label]
    table = np.array(events, float).reshape(-1, 3)
    return ClassTruth(table[:, 0].astype(int), table[:, 1], table[:, 2])


@pytest.mark.parametrize("metric", ["event", "onset", "segment"])
@given(seed=st.integers(0, 10**6), lengths=st.lists(st.integers(20, 90), min_size=2, max_size=5))
@settings(max_examples=4, deadline=None)
def test_counts_are_the_metrics(tiny_bundle, metric, seed, lengths):
    spec, scored = tiny_bundle.spec, wavering(seed, lengths)
    truth = near(scored, spec, seed)
    judged = {name: events for name, events in truth.items() if name != "0.wav"}
    tape = Tape(scored, spec)
    counter = Counter(tape, np.array([name in judged for name in tape.names]), metric)
    tables = [counter.count(index, of_class(truth, label), SMALL) for index, label in enumerate(LABELS)]
    for place in range(int(np.prod(SMALL.shape))):
        where = np.unravel_index(place, SMALL.shape)
        if SMALL.offset_threshold[where[1]] > SMALL.onset_threshold[where[3]]:
            continue
        found = decide(scored, smoothed(spec, SMALL.smoothing(place)))
        if metric == "segment":
            tally = count_segments(judged, found, scored.durations_s, LABELS)
        else:
            tally = count_events(judged, found, LABELS, within_collar(offset_share=0.2 if metric == "event" else None))
        alarms = count_false_alarms(truth, found, scored.durations_s, LABELS)
        for index, label in enumerate(LABELS):
            counts = tally.by_label[label]
            expected = [counts.tp, counts.tp + counts.fp, alarms[label].count]
            assert tables[index][(slice(None), *where)].tolist() == expected
            assert counter.n_true(of_class(truth, label)) == counts.n_true


def scene(events, n_frames=100, peak=0.9):
    """Scores of one file that are ``peak`` where the events ``(label index, first frame, end)`` are."""
    scores = np.full((n_frames, 4), 0.01, np.float32)
    for index, first, end, *level in events:
        scores[first:end, index] = level[0] if level else peak
    return scores


def of_scenes(scenes):
    scores = {f"{i}.wav": s for i, s in enumerate(scenes)}
    return ScoredFiles(LABELS, FRAME_S, scores, {name: len(s) * FRAME_S for name, s in scores.items()})


def test_thresholds_go_between_false_alarms_and_events(tiny_bundle):
    # "low" sounds in 30 files with a score of 0.8, and is mistaken at 0.6 in 30 others; the others never sound.
    scored = of_scenes([scene([(0, 20, 60, 0.8)])] * 30 + [scene([(0, 20, 60, 0.6)])] * 30)
    truth = {f"{i}.wav": [LabelledEvent(0.8, 2.4, "low")] for i in range(30)}
    tuned = tune(scored, truth, tiny_bundle.spec, max_false_alarms_per_hour=1)
    low, mid = tuned[0], tuned[1]
    assert 0.6 < low.after.onset_threshold <= 0.8
    assert (low.effect_before.counts.f1, low.effect_after.counts.f1) == (30 * 2 / 90, 1.0)
    assert (low.effect_before.alarms.count, low.effect_after.alarms.count) == (30, 0)
    assert low.is_bounded
    # Ties go to the higher threshold and to the shorter delay.
    assert (low.after.onset_threshold, low.after.offset_threshold) == (0.8, 0.8)
    assert (low.after.median_frames, low.after.min_duration_s) == (1, 0.0)
    assert mid.after == mid.before == tiny_bundle.spec.smoothing


def test_a_class_without_events_is_made_to_keep_the_bound(tiny_bundle):
    scored = of_scenes([scene([(0, 20, 60)])] * 10 + [scene([(1, 20, 60, 0.7)])] * 10)
    truth = {f"{i}.wav": [LabelledEvent(0.8, 2.4, "low")] for i in range(10)}
    mid = tune(scored, truth, tiny_bundle.spec, max_false_alarms_per_hour=1)[1]
    assert mid.effect_before.alarms.count == 10
    assert mid.effect_after.alarms.count == 0
    assert mid.after.onset_threshold > 0.7


def test_false_alarms_are_spent_where_they_gain_most(tiny_bundle):
    """On average the classes keep the bound; a class that finds more by them has more than it, up to four times."""
    low_only, low_and_mid = [scene([(0, 20, 60, 0.7)])] * 20, [scene([(0, 20, 60, 0.9), (1, 20, 60, 0.7)])] * 20
    wrong = [scene([(0, 20, 60, 0.7)])] * 2 + [scene([(1, 20, 60, 0.7)])] * 2
    scored = of_scenes([*low_only, *low_and_mid, *wrong, *[scene([])] * 956])
    truth = {f"{i}.wav": [LabelledEvent(0.8, 2.4, "low")] for i in range(20)}
    truth |= {f"{i}.wav": [LabelledEvent(0.8, 2.4, "low"), LabelledEvent(0.8, 2.4, "mid")] for i in range(20, 40)}
    hours = 1000 * 100 * FRAME_S / 3600
    # "mid" needs 2 false alarms to be found at all, "low" only to be found twice as often; the others have none.
    for allowed, n_low, n_mid in ((0, 20, 0), (2, 20, 20), (4, 40, 20)):
        bound = (allowed + 0.5) / hours / len(LABELS)
        tuned = tune(scored, truth, tiny_bundle.spec, max_false_alarms_per_hour=bound)
        assert [one.effect_after.counts.tp for one in tuned[:2]] == [n_low, n_mid]
        assert sum(one.effect_after.alarms.count for one in tuned) == allowed


def test_a_bound_that_nothing_keeps_is_broken_least(tiny_bundle):
    scored = of_scenes([scene([(0, 20, 60)])] * 10 + [scene([(0, 20, 60, 1.0)])] * 3 + [scene([(0, 20, 60, 0.7)])] * 3)
    truth = {f"{i}.wav": [LabelledEvent(0.8, 2.4, "low")] for i in range(10)}
    low = tune(scored, truth, tiny_bundle.spec, max_false_alarms_per_hour=1)[0]
    assert not low.is_bounded
    assert low.effect_after.alarms.count == 3


def test_few_events_are_pulled_to_what_is_best_for_all(tiny_bundle):
    # Every event of "low" scores 0.8, with a blip of 0.5 behind it that is none. One of "mid" scores 0.3 only.
    low = scene([(0, 20, 60, 0.8), (0, 70, 95, 0.5)])
    scored = of_scenes([low] * 60 + [scene([(1, 20, 60, 0.3)])])
    truth = {f"{i}.wav": [LabelledEvent(0.8, 2.4, "low")] for i in range(60)}
    truth["60.wav"] = [LabelledEvent(0.8, 2.4, "mid")]
    tuned = tune(scored, truth, tiny_bundle.spec, max_false_alarms_per_hour=1)
    assert tuned[1].after.onset_threshold > 0.5
    assert tuned[1].effect_after.counts.tp == 0
    # As many as the prior weighs, several times over, decide for themselves.
    many = round(5 * PRIOR_EVENTS)
    scored = of_scenes([low] * 60 + [scene([(1, 20, 60, 0.3)])] * many)
    truth |= {f"{60 + i}.wav": [LabelledEvent(0.8, 2.4, "mid")] for i in range(many)}
    tuned = tune(scored, truth, tiny_bundle.spec, max_false_alarms_per_hour=1)
    assert tuned[1].after.onset_threshold == 0.3
    assert tuned[1].effect_after.counts.tp == many


def test_what_is_promised_is_what_the_engine_does(tiny_bundle):
    scored = wavering(3, [100] * 20)
    truth = near(scored, tiny_bundle.spec, 3)
    tuned = tune(scored, truth, tiny_bundle.spec, max_false_alarms_per_hour=1000)
    spec = with_smoothing(tiny_bundle.spec, tuned, "here")
    for settings_of, effects in (
        (tiny_bundle.spec, [one.effect_before for one in tuned]),
        (spec, [one.effect_after for one in tuned]),
    ):
        found = decide(scored, settings_of)
        tally = count_events(truth, found, LABELS, within_collar())
        alarms = count_false_alarms(truth, found, scored.durations_s, LABELS)
        assert [effect.counts for effect in effects] == list(tally.by_label.values())
        assert [effect.alarms.count for effect in effects] == [alarm.count for alarm in alarms.values()]


def test_luck_does_not_carry_over(tiny_bundle):
    scored = wavering(5, [100] * 40)
    rng = np.random.default_rng(5)
    truth = {n: [LabelledEvent(o, o + 0.5, "low")] for n, o in zip(scored.scores, rng.uniform(0, 3, 40), strict=True)}
    low = tune(scored, truth, tiny_bundle.spec, max_false_alarms_per_hour=1000)[0]
    after, elsewhere = low.effect_after.counts, low.effect_elsewhere.counts
    assert after.n_true == elsewhere.n_true == 40
    assert elsewhere.f1 < after.f1


def test_what_always_holds_carries_over(tiny_bundle):
    scored = of_scenes([scene([(0, 20, 60, 0.8)])] * 30 + [scene([(0, 20, 60, 0.6)])] * 30)
    truth = {f"{i}.wav": [LabelledEvent(0.8, 2.4, "low")] for i in range(30)}
    low = tune(scored, truth, tiny_bundle.spec, max_false_alarms_per_hour=1)[0]
    assert low.effect_elsewhere == low.effect_after


def test_two_files_are_enough(tiny_bundle):
    scored = of_scenes([scene([(0, 20, 60, 0.8)]), scene([])])
    tuned = tune(scored, {"0.wav": [LabelledEvent(0.8, 2.4, "low")]}, tiny_bundle.spec, max_false_alarms_per_hour=1)
    assert tuned[0].effect_after.counts.tp == 1


def test_the_note_replaces_an_earlier_one(tiny_bundle):
    once = with_smoothing(tiny_bundle.spec, [], "for A")
    assert with_smoothing(once, [], "for B").training.recipe == "set by hand; smoothing tuned for B"


def test_figures_that_smoothing_decides_are_not_kept(tiny_bundle):
    spec = tiny_bundle.spec.model_copy(update={"quality": {"clip_map": 0.5, "scene_event_f1": 0.1}})
    assert with_smoothing(spec, [], "here").quality == {"clip_map": 0.5}


def test_every_setting_of_the_grid_is_one():
    n_settings = int(np.prod(GRID.shape))
    rng = np.random.default_rng(0)
    for place in rng.integers(0, n_settings, 300):
        where = np.unravel_index(place, GRID.shape)
        if GRID.offset_threshold[where[1]] <= GRID.onset_threshold[where[3]]:
            GRID.smoothing(int(place))


@pytest.fixture
def scenes(tmp_path):
    """Folders: six files of tones with what the tiny bundle hears under other smoothing as truth, two of silence."""
    folders = tmp_path / "loud", tmp_path / "quiet"
    bundle = load_bundle(write_tiny_bundle(tmp_path / "tiny"))
    for seed, (folder, n_files) in enumerate(zip(folders, (6, 2), strict=True)):
        folder.mkdir()
        names = [f"{i}.wav" for i in range(n_files)]
        for i, name in enumerate(names):
            pcm = tones(4.0, 10 * seed + i) if folder.name == "loud" else np.zeros(32_000, np.int16)
            write_wav(folder / name, pcm)
        other = Smoothing(onset_threshold=0.8, offset_threshold=0.7, median_frames=1, min_gap_s=0.1)
        found = decide(score_files(bundle, folder, names), smoothed(bundle.spec, other))
        truth = {name: [LabelledEvent(e.onset_s, e.offset_s, e.label) for e in found[name]] for name in names}
        write_tsv(folder / "truth.tsv", truth)
    return bundle, folders


def test_the_command_writes_a_copy(scenes, tmp_path, capsys):
    bundle, folders = scenes
    before = (bundle.folder / "bundle.json").read_bytes()
    out = tmp_path / "out"
    arguments = ["tune", str(bundle.folder), "--out", str(out), *(f"--scenes={folder}" for folder in folders)]
    assert run_command(arguments) == 0
    shown = capsys.readouterr().out
    assert "all together" in shown
    assert str(out / "bundle.json") in shown
    assert (bundle.folder / "bundle.json").read_bytes() == before
    tuned = load_bundle(out)
    assert tuned.spec.smoothing_by_label
    assert tuned.spec.training.recipe.endswith(
        "smoothing tuned for event F1 at 1 false alarms/h a label on average on 8 files"
    )
    assert {path.name for path in out.iterdir()} == {path.name for path in bundle.folder.iterdir()}
    assert run_command(arguments) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err


def test_the_command_changes_the_bundle_in_place(scenes, capsys):
    bundle, folders = scenes
    assert run_command(["tune", str(bundle.folder), f"--scenes={folders[0]}", "--metric", "segment"]) == 0
    assert "segment F1" in capsys.readouterr().out
    changed = json.loads((bundle.folder / "bundle.json").read_text())
    assert changed["smoothing_by_label"]
    assert load_bundle(bundle.folder).spec.front_end == bundle.spec.front_end


def test_scenes_without_an_event_are_refused(scenes, capsys):
    bundle, folders = scenes
    assert run_command(["tune", str(bundle.folder), f"--scenes={folders[1]}"]) == 2
    assert "expected an event in a truth.tsv" in capsys.readouterr().err


def test_a_bound_that_is_no_number_is_refused(scenes, capsys):
    bundle, folders = scenes
    arguments = ["tune", str(bundle.folder), f"--scenes={folders[0]}", "--max-false-alarms-per-hour", "inf"]
    assert run_command(arguments) == 2
    assert "expected a number, got inf; say 100000 for no bound" in capsys.readouterr().err


def test_labels_that_the_bundle_lacks_are_refused(scenes, capsys):
    bundle, folders = scenes
    before = (bundle.folder / "bundle.json").read_bytes()
    for folder, label in zip(folders, ("hihg", "low "), strict=True):
        with (folder / "truth.tsv").open("a") as table:
            table.write(f"more.wav\t0\t1\t{label}\n")
        shutil.copy(folders[0] / "0.wav", folder / "more.wav")
    assert run_command(["tune", str(bundle.folder), *(f"--scenes={folder}" for folder in folders)]) == 2
    told = f"earmark: error: {folders[0] / 'truth.tsv'}: model 'tiny' has no label 'hihg'; did you mean high?\n"
    assert capsys.readouterr().err == told
    assert (bundle.folder / "bundle.json").read_bytes() == before


def test_an_event_behind_the_end_of_its_file_is_refused(scenes, capsys):
    """It could never be found, and the setting that misses it would look as good as can be."""
    bundle, folders = scenes
    before = (bundle.folder / "bundle.json").read_bytes()
    with (folders[0] / "truth.tsv").open("a") as table:
        table.write("0.wav\t44\t45\thigh\n")
    assert run_command(["tune", str(bundle.folder), f"--scenes={folders[0]}"]) == 2
    assert "which is 4.000 s long, got 'high' at 44.000 s" in capsys.readouterr().err
    assert (bundle.folder / "bundle.json").read_bytes() == before


def test_a_bundle_that_ships_is_not_changed(scenes, capsys, monkeypatch, tmp_path):
    _, folders = scenes
    monkeypatch.chdir(tmp_path)
    before = (shipped("models") / "urban" / "bundle.json").read_bytes()
    assert run_command(["tune", "urban", f"--scenes={folders[0]}"]) == 2
    assert "--out: expected a new folder, got none, and 'urban', which ships, stays" in capsys.readouterr().err
    assert (shipped("models") / "urban" / "bundle.json").read_bytes() == before


def test_how_a_missing_truth_is_written_is_told(scenes, capsys):
    bundle, folders = scenes
    (folders[0] / "truth.tsv").unlink()
    assert run_command(["tune", str(bundle.folder), f"--scenes={folders[0]}"]) == 2
    told = capsys.readouterr().err
    assert f"{folders[0] / 'truth.tsv'}: expected a table of what sounds in the files beside it" in told
    assert "filename, onset, offset, event_label" in told


def test_a_missing_file_is_named(scenes, capsys):
    bundle, folders = scenes
    (folders[0] / "3.wav").unlink()
    assert run_command(["tune", str(bundle.folder), f"--scenes={folders[0]}"]) == 2
    assert "got no 3.wav" in capsys.readouterr().err
