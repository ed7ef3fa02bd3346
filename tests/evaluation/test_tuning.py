"""Tuning: the fast simulation against the engine's smoother, fast counts against the metrics, and what is chosen."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.app.cli import run_command
from earmark.contracts.bundle import Smoothing, load_bundle, shipped
from earmark.contracts.presets import PRESETS
from earmark.evaluation.annotations import LabelledEvent, write_tsv
from earmark.evaluation.counting import Counter, Grid, Measure
from earmark.evaluation.decisions import decide
from earmark.evaluation.events import count_events, within_collar
from earmark.evaluation.ignoring import drop_ignored
from earmark.evaluation.material import N_FOLDS, Material
from earmark.evaluation.real import RealCounts, RealRecording, measure_real
from earmark.evaluation.scoring import ScoredFiles, score_files
from earmark.evaluation.simulation import Tape, decided_events
from earmark.evaluation.tuning import GRID, PRIOR_EVENTS, Budget, tune, with_presets
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
    lambda low, extra, median, duration_s, gap_s, limit_s: Smoothing(
        onset_threshold=round(low + extra, 2),
        offset_threshold=low,
        median_frames=median,
        min_duration_s=duration_s,
        min_gap_s=gap_s,
        max_unproven_s=limit_s,
    ),
    st.sampled_from([0.1, 0.3, 0.45]),
    st.sampled_from([0, 0.1, 0.4]),
    st.sampled_from(range(1, 26, 2)),
    st.sampled_from([0, 0.04, 0.05, 0.12, 0.5]),
    st.sampled_from([0, 0.04, 0.1, 0.24, 1.0]),
    st.sampled_from([None, 0, 0.04, 0.1, 0.3, 1.0]),
)
LENGTHS = st.lists(st.integers(0, 80), min_size=1, max_size=5)


@given(seed=st.integers(0, 10**6), lengths=LENGTHS, smoothing=SMOOTHINGS, delay=st.sampled_from([0, 0, 1, 2, 5]))
@settings(max_examples=300, deadline=None)
def test_simulated_events_are_the_smoothers(tiny_bundle, seed, lengths, smoothing, delay):
    spec = smoothed(tiny_bundle.spec, smoothing).model_copy(update={"delay_frames": delay})
    scored = wavering(seed, lengths)
    told = decide(scored, spec)
    expected = {name: [(e.onset_s, e.offset_s, e.label) for e in events] for name, events in told.items()}
    found = decided_events(scored, spec, spec.smoothing_of)
    assert {name: [(e.onset_s, e.offset_s, e.label) for e in events] for name, events in found.items()} == expected


SMALL = Grid((1, 3, 9), (0.3, 0.5, 0.9), (0.2, 0.5, 1.0), (0.1, 0.4), (0.2, 1.0), (0.0, 0.12))


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


def around(truth, seed):
    """Ignored extents near the truth: some cover it, some follow it, some are in other files."""
    rng = np.random.default_rng(seed)
    ignored = {name: [] for name in truth}
    for name, events in truth.items():
        for event in events:
            onset_s = max(0.0, rng.choice([event.onset_s, event.offset_s, event.offset_s + 0.4]) + rng.normal(0, 0.3))
            extent = LabelledEvent(onset_s, onset_s + rng.uniform(0.05, 1.5), event.label)
            ignored[str(rng.choice([name, *truth]))].append(extent)
    return ignored


def listed(scored, seed):
    """Random rows of a real list for some files."""
    rng = np.random.default_rng(seed)
    return [
        RealRecording(
            name,
            str(rng.choice(["", *LABELS])),
            frozenset(str(label) for label in rng.choice(LABELS, rng.integers(0, 3))),
            str(rng.choice(["music", "event"])),
            "",
            scored.durations_s[name],
        )
        for name in scored.scores
    ]


@pytest.mark.parametrize("is_real", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_counts_are_the_metrics(tiny_bundle, seed, is_real):
    """Of every setting and fold, against the engine's smoother, the event metric and the judge of real recordings."""
    spec, scored = tiny_bundle.spec, wavering(seed, np.random.default_rng(seed).integers(20, 90, 5 * seed + 3))
    truth = near(scored, spec, seed)
    recordings = [one for i, one in enumerate(listed(scored, seed)) if i % 2] if is_real else []
    for one in recordings:
        del truth[one.file]
    ignored = around(truth, seed)
    material = Material(scored, truth, recordings, ignored)
    tape = Tape(scored, spec)
    n_dropped = 0
    counter = Counter(tape, material.fold, N_FOLDS, material.is_scene, material.is_music)
    tables = [counter.count(index, material.truth_of(label), SMALL) for index, label in enumerate(LABELS)]
    for place in range(seed, int(np.prod(SMALL.shape)), 23):
        where = np.unravel_index(place, SMALL.shape)
        told = decide(scored, smoothed(spec, SMALL.smoothing(place)))
        found = drop_ignored(told, truth, ignored)
        n_dropped += sum(map(len, told.values())) - sum(map(len, found.values()))
        for fold in range(N_FOLDS):
            names = set(material.of_fold(fold).scores)
            scenes = {name: events for name, events in truth.items() if name in names}
            tally = count_events(scenes, found, LABELS, within_collar())
            watched = [one for one in material.watched.values() if one.file in names]
            judged = measure_real(watched, found, scored.durations_s, LABELS)
            for index, label in enumerate(LABELS):
                got = tables[index][(slice(None), fold, *where)]
                counts, real = tally.by_label[label], judged.by_label.get(label, RealCounts())
                assert (got[Measure.HITS], got[Measure.DETECTED]) == (counts.tp, counts.tp + counts.fp)
                if label not in material.judged:
                    assert got[Measure.WRONG] == 0
                    continue
                wrong = [
                    (event, one.kind == "music")
                    for one in watched
                    for event in found[one.file]
                    if event.label == label and not one.permits(label)
                ]
                n_frames = [round((event.offset_s - event.onset_s) / FRAME_S) for event, _ in wrong]
                assert got[Measure.FOUND] == (real.found if is_real else 0)
                assert got[Measure.WRONG] == len(wrong)
                assert got[Measure.WRONG_FRAMES] == sum(n_frames)
                in_music = [n for n, (_, is_music) in zip(n_frames, wrong, strict=True) if is_music]
                assert got[Measure.WRONG_MUSIC_FRAMES] == sum(in_music)
    assert n_dropped > 0


def scene(events, n_frames=100, peak=0.9):
    """Scores of one file that are ``peak`` where the events ``(label index, first frame, end)`` are."""
    scores = np.full((n_frames, 4), 0.01, np.float32)
    for index, first, end, *level in events:
        scores[first:end, index] = level[0] if level else peak
    return scores


def of_scenes(scenes):
    scores = {f"{i}.wav": s for i, s in enumerate(scenes)}
    return ScoredFiles(LABELS, FRAME_S, scores, {name: len(s) * FRAME_S for name, s in scores.items()})


ONE = {"balanced": Budget(60.0, 0.05, 0.05)}
HOUR_OF_SILENCE = [scene([], 90_000)]
CHOICE = Grid((1, 9), (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), (0.2, 0.6), (0.4,), (1.0, 5.0), (0.0, 0.24))


def chosen(material, spec, budget=ONE["balanced"]):
    return tune(material, spec, {"balanced": budget}, CHOICE)["balanced"]


def test_thresholds_go_between_wrong_events_and_true_ones(tiny_bundle):
    # "low" sounds in 30 scenes with a score of 0.65, and is mistaken at 0.45 in 30 others.
    scored = of_scenes([scene([(0, 20, 60, 0.65)])] * 30 + [scene([(0, 20, 60, 0.45)])] * 30 + HOUR_OF_SILENCE)
    truth = {name: [] for name in scored.scores}
    truth |= {f"{i}.wav": [LabelledEvent(0.8, 2.4, "low")] for i in range(30)}
    tuned = chosen(Material(scored, truth), tiny_bundle.spec, Budget(0.5, 0.001, 0.001))
    assert tuned.here.event_f1 == tuned.elsewhere.event_f1 == 1.0
    assert tuned.here.watched.wrong.n_events == 0
    # Ties go to the higher thresholds and to shorter events.
    low = tuned.smoothing["low"]
    assert (low.onset_threshold, low.offset_threshold, low.max_unproven_s) == (0.6, 0.36, 1.0)
    assert set(tuned.smoothing) == set(LABELS)


def test_wrong_events_are_spent_where_they_find_most(tiny_bundle):
    """Where "low" has 2 false events for 20 more hits and "mid" has 2 for 5 more, "low" has them first."""
    scenes = [scene([(0, 20, 60, 0.45), (1, 20, 60, 0.85)])] * 200 + [
        scene([(0, 20, 60, 0.85), (1, 20, 60, 0.45)])
    ] * 50
    wrong = [scene([(0, 20, 60, 0.45)])] * 10 + [scene([(1, 20, 60, 0.45)])] * 10
    scored = of_scenes([*scenes, *wrong, *HOUR_OF_SILENCE])
    truth = {name: [] for name in scored.scores}
    both = [LabelledEvent(0.8, 2.4, "low"), LabelledEvent(0.8, 2.4, "mid")]
    truth |= {f"{i}.wav": both for i in range(250)}
    material = Material(scored, truth)
    cheap = []
    for budget in (0.5, 8.0, 1000.0):
        smoothing = chosen(material, tiny_bundle.spec, Budget(budget, 1.0, 1.0)).smoothing
        cheap.append([smoothing[label].onset_threshold <= 0.45 for label in ("low", "mid")])
    assert cheap == [[False, False], [True, False], [True, True]]


def blips(seed, n_files=40):
    """Files with short sounds of random classes and scores, and a random list of what may be heard in them."""
    rng = np.random.default_rng(seed)
    scored = of_scenes(
        [
            scene([(int(rng.integers(4)), 40 * i, 40 * i + 20, rng.uniform(0.2, 0.85)) for i in range(10)], 400)
            for _ in range(n_files)
        ]
    )
    recordings = listed(scored, seed)
    return Material(scored, {}, [replace(one, kind="music" if i % 2 else "event") for i, one in enumerate(recordings)])


def spent(outcome):
    watched = outcome.watched
    return {
        "wrong_per_hour": watched.wrong_per_hour,
        "wrong_share": watched.wrong_share,
        "music_wrong_share": outcome.music_wrong_share,
    }


@pytest.mark.parametrize("part", ["wrong_per_hour", "wrong_share", "music_wrong_share"])
def test_every_part_of_the_budget_is_kept_here_and_elsewhere_or_missed_by_little(tiny_bundle, part):
    material = blips(7)
    loose = {"wrong_per_hour": 1e6, "wrong_share": 1e3, "music_wrong_share": 1e3}
    free = chosen(material, tiny_bundle.spec, Budget(**loose))
    limit = spent(free.elsewhere)[part] / 2
    bound = chosen(material, tiny_bundle.spec, Budget(**{**loose, part: limit}))
    for outcome in (bound.here, bound.elsewhere):
        assert 0 < spent(outcome)[part] < 1.25 * limit
    assert 0 < bound.elsewhere.watched.found_share <= free.elsewhere.watched.found_share


def test_presets_go_from_few_wrong_events_to_many(tiny_bundle):
    tuned = tune(blips(9), tiny_bundle.spec, grid=CHOICE)
    assert tuple(tuned) == PRESETS
    wrong = [one.elsewhere.watched.wrong_per_hour for one in tuned.values()]
    assert wrong == sorted(wrong)


@pytest.mark.parametrize(("least", "expected"), [(0.7, 0.8), (0.8, 0.8), (1.0, 0.8)])
def test_a_class_takes_no_lower_threshold_than_it_may(tiny_bundle, least, expected):
    low = scene([(0, 20, 60, 0.45), (1, 20, 60, 0.45)])
    scored = of_scenes([low] * 40)
    truth = {name: [LabelledEvent(0.8, 2.4, "low"), LabelledEvent(0.8, 2.4, "mid")] for name in scored.scores}
    free = Budget(1e6, 1.0, 1.0)
    (one,) = tune(Material(scored, truth), tiny_bundle.spec, {"keen": free}, CHOICE, {"low": least}).values()
    assert one.smoothing["low"].onset_threshold == expected
    assert one.smoothing["mid"].onset_threshold <= 0.45


def test_luck_does_not_carry_over(tiny_bundle):
    tuned = chosen(blips(5), tiny_bundle.spec, Budget(400.0, 1e3, 1e3))
    assert tuned.elsewhere.watched.wrong.n_events > tuned.here.watched.wrong.n_events


def test_few_events_are_pulled_to_what_is_best_for_all(tiny_bundle):
    # Every event of "low" scores 0.75, with a blip of 0.45 behind it that is none. One of "mid" scores 0.25 only.
    low = scene([(0, 20, 60, 0.75), (0, 70, 95, 0.45)])
    free = Budget(1e6, 1.0, 1.0)

    def of(n_mid):
        scored = of_scenes([low] * 60 + [scene([(1, 20, 60, 0.25)])] * n_mid)
        truth = {f"{i}.wav": [LabelledEvent(0.8, 2.4, "low")] for i in range(60)}
        truth |= {f"{60 + i}.wav": [LabelledEvent(0.8, 2.4, "mid")] for i in range(n_mid)}
        return chosen(Material(scored, truth), tiny_bundle.spec, free).smoothing["mid"]

    assert of(1).onset_threshold > 0.45
    # As many as the prior weighs, several times over, decide for themselves.
    assert of(round(5 * PRIOR_EVENTS)).onset_threshold <= 0.25


def test_what_is_promised_is_what_the_engine_does(tiny_bundle):
    scored = wavering(3, [100] * 30)
    recordings = listed(scored, 3)[:15]
    truth = {
        name: events
        for name, events in near(scored, tiny_bundle.spec, 3).items()
        if name not in {one.file for one in recordings}
    }
    material = Material(scored, truth, recordings)
    tuned = tune(material, tiny_bundle.spec, grid=CHOICE)
    spec = with_presets(tiny_bundle.spec, tuned, "here", "keen")
    assert spec.smoothing_by_label == spec.presets["keen"]
    for preset, one in tuned.items():
        found = decide(scored, spec.with_preset(preset))
        assert one.here.watched == measure_real(recordings, found, scored.durations_s, LABELS).total
        assert one.here.event_f1 == count_events(truth, found, LABELS, within_collar()).micro.f1


def test_two_files_are_enough(tiny_bundle):
    scored = of_scenes([scene([(0, 20, 60, 0.8)]), scene([])])
    truth = {"0.wav": [LabelledEvent(0.8, 2.4, "low")], "1.wav": []}
    assert chosen(Material(scored, truth), tiny_bundle.spec).here.event_f1 == 1.0


def test_the_note_replaces_an_earlier_one_and_figures_of_the_smoothing_before_are_left_out(tiny_bundle):
    scored = of_scenes([scene([(0, 20, 60, 0.8)]), scene([])])
    truth = {"0.wav": [LabelledEvent(0.8, 2.4, "low")], "1.wav": []}
    tuned = tune(Material(scored, truth), tiny_bundle.spec, grid=CHOICE)
    spec = tiny_bundle.spec.model_copy(update={"quality": {"clip_map": 0.5, "scene_event_f1": 0.1}})
    twice = with_presets(with_presets(spec, tuned, "for A"), tuned, "for B")
    assert twice.training.recipe == "set by hand; smoothing tuned for B"
    assert twice.quality["clip_map"] == 0.5
    assert "scene_event_f1" not in twice.quality
    assert twice.quality["quiet_elsewhere_wrong_per_hour"] == tuned["quiet"].elsewhere.watched.wrong_per_hour
    assert type(spec).model_validate(twice.model_dump()) == twice


def test_every_setting_of_the_grid_is_one():
    for place in np.random.default_rng(0).integers(0, int(np.prod(GRID.shape)), 300):
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
    assert "Preset balanced, which decides" in shown
    assert str(out / "bundle.json") in shown
    assert (bundle.folder / "bundle.json").read_bytes() == before
    tuned = load_bundle(out)
    assert tuned.spec.smoothing_by_label == tuned.spec.presets["balanced"]
    assert tuned.spec.training.recipe.endswith("smoothing tuned in three presets on 8 scenes and 0 real recordings")
    assert {path.name for path in out.iterdir()} == {path.name for path in bundle.folder.iterdir()}
    assert run_command(arguments) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err


def test_the_command_takes_real_recordings_and_changes_the_bundle_in_place(scenes, capsys):
    bundle, folders = scenes
    rows = [f"{i}.wav,{'high' if i % 2 else ''},low mid,4.0,{'event' if i % 2 else 'music'},tones" for i in range(6)]
    (folders[0] / "real.csv").write_text("\n".join(["file,expected,allowed,seconds,kind,title", *rows]))
    real = f"--real={folders[0] / 'real.csv'}"
    assert run_command(["tune", str(bundle.folder), real, f"--scenes={folders[1]}", "--preset", "keen"]) == 0
    assert "Preset keen, which decides" in capsys.readouterr().out
    changed = load_bundle(bundle.folder).spec
    assert changed.smoothing_by_label == changed.presets["keen"]
    assert changed.front_end == bundle.spec.front_end
    assert "keen_elsewhere_found_share" in changed.quality


def test_scenes_without_an_event_are_refused(scenes, capsys):
    bundle, folders = scenes
    for arguments in ([f"--scenes={folders[1]}"], []):
        assert run_command(["tune", str(bundle.folder), *arguments]) == 2
        assert "expected --real LIST or --scenes DIR with an event in its truth.tsv" in capsys.readouterr().err


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
