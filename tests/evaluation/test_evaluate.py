import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earmark.app.cli import run_command
from earmark.contracts.bundle import load_bundle
from earmark.contracts.errors import ConfigError
from earmark.evaluation.annotations import LabelledEvent, read_tsv, write_tsv
from earmark.evaluation.evaluate import LabelledAudio, evaluate
from earmark.evaluation.measures import smooth
from earmark.synthesis.scene import Scene, make_scene, write_wav
from engine.detector import Detector

LABELS = ("rain", "siren")
CLIPS = ("rain", "siren", "church_bells", "speech")


def truth_of(scene: Scene) -> list[LabelledEvent]:
    rate = scene.sample_rate_hz
    return [LabelledEvent(e.onset_sample / rate, e.offset_sample / rate, e.label) for e in scene.truth]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of 8 s with a rain and a siren each, and one without events."""
    folder = tmp_path_factory.mktemp("scenes")
    truth = {}
    for seed in (1, 2):
        scene = make_scene(seed, 8.0, LABELS)
        write_wav(folder / f"{seed}.wav", scene)
        truth[f"{seed}.wav"] = truth_of(scene)
    write_wav(folder / "quiet.wav", make_scene(3, 4.0, ()))
    write_tsv(folder / "truth.tsv", {**truth, "quiet.wav": []})
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of each of three classes, one that is said to be speech, one of another split."""
    folder = tmp_path_factory.mktemp("clips")
    rows = ["file,kind,split,fold,label"]
    for seed, label in enumerate(CLIPS):
        write_wav(folder / f"{label}.wav", make_scene(seed, 4.0, ["rain" if label == "speech" else label]))
        rows.append(f"{label}.wav,event,dev,,{label}")
    rows += ["gone.wav,event,train,,rain", "gone.wav,background,dev,,"]
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def report(scenes: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "new" / "report"
    assert run_command(["evaluate", "--scenes", str(scenes), "--clips", str(clips), "--out", str(out)]) == 0
    return out


def test_everything_is_written(report: Path):
    pictures = {"event_f1", "psd_roc", "delays", "false_alarms", "reliability", "clips_found", "confusions"}
    expected = {f"{name}.png" for name in pictures} | {"report.md", "report.html", "figures.json", "events.tsv"}
    assert {path.name for path in report.iterdir()} == expected
    for name in pictures:
        assert (report / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_figures_are_those_of_the_sets(report: Path):
    figures = json.loads((report / "figures.json").read_text())
    scenes, main, speech = figures["scenes"], figures["clips"]["main"], figures["clips"]["speech"]
    assert (scenes["files"], scenes["events"], scenes["hours"]) == (3, 4, round(20 / 3600, 6))
    assert (main["files"], speech["files"]) == (3, 1)
    assert main["accuracy"] == 1
    assert speech["accuracy"] == 0
    assert scenes["segment"]["micro"]["f1"] > 0.5
    assert scenes["psds2"] > 0.5
    counts = scenes["labels"]["rain"]["event"]
    assert counts["tp"] + counts["fn"] == 2
    assert sum(scenes["reliability"]["frames"]) == (200 + 200 + 100) * 57


def test_the_events_are_the_engines(report: Path, scenes: Path):
    found = read_tsv(report / "events.tsv")
    detector = Detector()
    for name in ("1.wav", "2.wav"):
        scene = make_scene(int(name[0]), 8.0, LABELS)
        assert (scenes / name).is_file()
        told = detector.feed(scene.audio) + detector.end()
        rate = detector.sample_rate_hz
        expected = [
            LabelledEvent(event.onset_sample / rate, event.offset_sample / rate, event.label)
            for event in told
            if event.phase == "offset" and event.offset_sample is not None
        ]
        assert found[name] == sorted(expected)
    assert found["quiet.wav"] == []


def test_a_report_says_what_and_how(report: Path):
    identity = load_bundle("urban").identity
    for name in ("report.md", "report.html"):
        text = (report / name).read_text()
        assert identity in text
        assert "earmark evaluate urban --scenes" in text
        assert "3 files" in text
    page = (report / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 7
    assert "http" not in page
    assert "src=" not in page.replace('src="data:', "")


def test_another_table_of_the_truth_and_ignored_extents_count(scenes: Path, report: Path, tmp_path: Path):
    """A truth without the sirens makes detected ones wrong, unless they are ignored."""
    truth = read_tsv(scenes / "truth.tsv")
    sirens = {name: [event for event in events if event.label == "siren"] for name, events in truth.items()}
    rest = {name: [event for event in events if event.label == "rain"] for name, events in truth.items()}
    write_tsv(scenes / "rain.tsv", rest)
    out = [tmp_path / "wrong", tmp_path / "ignored"]
    try:
        assert run_command(["evaluate", "--scenes", str(scenes), "--truth", "rain.tsv", "--out", str(out[0])]) == 0
        write_tsv(scenes / "ignored.tsv", sirens)
        assert run_command(["evaluate", "--scenes", str(scenes), "--truth", "rain.tsv", "--out", str(out[1])]) == 0
    finally:
        (scenes / "ignored.tsv").unlink(missing_ok=True)
        (scenes / "rain.tsv").unlink()
    both, wrong, ignored = (json.loads((each / "figures.json").read_text())["scenes"] for each in (report, *out))
    found = both["labels"]["siren"]["segment"]["tp"]
    assert found > 0
    assert wrong["labels"]["siren"]["segment"]["fp"] >= found
    assert wrong["labels"]["siren"]["false_alarms"] > 0
    assert ignored["labels"]["siren"]["segment"]["fp"] == both["labels"]["siren"]["segment"]["fp"]
    assert ignored["labels"]["siren"]["event"]["fp"] == ignored["labels"]["siren"]["false_alarms"] == 0
    assert (wrong["ignored"], ignored["ignored"]) == (0, 2)
    assert "--truth rain.tsv" in (out[1] / "report.md").read_text()
    assert "Ignored: 2 extents" in (out[1] / "report.md").read_text()


def test_several_processes_measure_the_same(report: Path, scenes: Path, clips: Path, tmp_path: Path):
    audio = LabelledAudio.find(scenes, clips, "dev")
    evaluate(load_bundle("urban"), audio, tmp_path, command="again", jobs=2)
    once, again = (json.loads((out / "figures.json").read_text()) for out in (report, tmp_path))
    assert {**once, "command": ""} == {**again, "command": ""}


def test_labels_that_the_bundle_lacks_are_left_out_and_named(scenes: Path, tmp_path: Path):
    truth = read_tsv(scenes / "truth.tsv")
    truth["1.wav"].append(LabelledEvent(0.1, 0.2, "<b>dragon|roar</b>"))
    write_tsv(scenes / "truth.tsv", truth)
    try:
        out = tmp_path / "out"
        evaluate(load_bundle("urban"), LabelledAudio.find(scenes, None, "dev"), out, command="<i>")
    finally:
        write_tsv(scenes / "truth.tsv", {**truth, "1.wav": truth["1.wav"][:-1]})
    figures = json.loads((out / "figures.json").read_text())
    assert figures["scenes"]["left_out"] == {"<b>dragon|roar</b>": 1}
    assert figures["scenes"]["events"] == 4
    assert figures["clips"] is None
    page = (out / "report.html").read_text()
    assert "&lt;b&gt;dragon" in page
    assert "<b>" not in page
    assert "<i>" not in page


def test_what_is_scored_is_smoothed_like_the_engine_does():
    spec = load_bundle("urban").spec
    rng = np.random.default_rng(0)
    scores = {"a": rng.uniform(size=(50, len(spec.labels))).astype(np.float32)}
    smoothed = smooth(scores, spec)["a"]
    length = spec.smoothing_of("rain").median_frames
    padded = np.pad(scores["a"][:, spec.labels.index("rain")], length // 2)
    expected = [np.median(padded[frame : frame + length]) for frame in range(50)]
    expected = [*expected[spec.delay_frames :], *[0.0] * spec.delay_frames]
    assert smoothed[:, spec.labels.index("rain")] == pytest.approx(expected, abs=1e-7)
    assert smooth({"a": scores["a"][:0]}, spec)["a"].shape == (0, len(spec.labels))


Spoil = Callable[[Path], object]


def _write_truth(text: str) -> Spoil:
    return lambda folder: (folder / "truth.tsv").write_text(f"filename\tonset\toffset\tevent_label\n{text}")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: None, "truth.tsv: expected a table of what sounds in the files beside it, got: No such file"),
        (_write_truth(""), "expected a row for each scene, got none"),
        (_write_truth("gone.wav\t0\t1\train\n"), "expected the files that it names, got no 'gone.wav'"),
        (_write_truth("a.wav\t0\t1\tdragon\n"), "expected scenes with events of the bundle's labels, got only dragon"),
        (_write_truth("a.wav\t5\t6\train\n"), "expected events inside 'a.wav', which is 1.000 s long, got 'rain' at 5"),
        (_write_truth("a.wav\t1\t0\train\n"), "truth.tsv:2: expected an onset before the offset"),
        (_write_truth("text.wav\t0\t1\train\n"), "text.wav"),
    ],
)
def test_bad_input_gets_one_line(spoil: Spoil, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_wav(tmp_path / "a.wav", make_scene(0, 1.0, ()))
    (tmp_path / "text.wav").write_text("no audio")
    spoil(tmp_path)
    assert run_command(["evaluate", "--scenes", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert told in printed
    assert printed.count("\n") == 1


def test_without_audio_there_is_nothing_to_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run_command(["evaluate", "--out", str(tmp_path / "out")]) == 2
    assert "expected at least one of --scenes DIR, --clips DIR and --real LIST, got none" in capsys.readouterr().err
    (tmp_path / "index.csv").write_text("file,kind,split,label\na.wav,event,train,rain\n")
    assert run_command(["evaluate", "--clips", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "split 'dev', got none" in capsys.readouterr().err


def test_a_scene_and_a_clip_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """``events.tsv`` could not tell them apart."""
    write_wav(tmp_path / "a.wav", make_scene(0, 1.0, ()))
    _write_truth("a.wav\t0\t1\train\n")(tmp_path)
    (tmp_path / "index.csv").write_text("file,kind,split,label\na.wav,event,dev,rain\n")
    both = ["--scenes", str(tmp_path), "--clips", str(tmp_path)]
    assert run_command(["evaluate", *both, "--out", str(tmp_path / "out")]) == 2
    assert "got two called a.wav (1 in all); measure them one after the other" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_report_that_cannot_be_written_is_told_of_before_scoring(scenes: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="expected a folder to write in"):
        evaluate(load_bundle("urban"), LabelledAudio.find(scenes, None, "dev"), tmp_path / "file" / "out", command="")
