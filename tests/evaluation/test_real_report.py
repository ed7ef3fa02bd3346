"""``earmark evaluate --real``: from a list to the report, with peers."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from earmark.app.cli import run_command
from earmark.contracts.bundle import Bundle, load_bundle
from earmark.evaluation.evaluate import LabelledAudio, evaluate
from earmark.evaluation.peers import PEER_RATE_HZ
from earmark.synthesis.scene import make_scene, write_wav

ROWS = (
    ("siren.wav", "siren", "rain", "event", 4.0, ("siren",)),
    ("rain.wav", "church_bells", "", "event", 4.0, ("rain",)),
    ("piano.wav", "", "", "music", 3.0, ("siren",)),
)


class SteadyPeer:
    """Scores one class the same in every frame, and another one in the first frame."""

    name = "Steady"
    labels = ("rain", "siren")
    hop = PEER_RATE_HZ // 2
    usual_threshold = 0.8

    def score(self, audio):
        scores = np.zeros((-(-len(audio) // self.hop), 2), np.float32)
        scores[:, 0], scores[0, 1] = 0.6, 0.9
        return scores


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    lines = ["file,expected,allowed,seconds,kind,title"]
    for seed, (file, expected, allowed, kind, seconds, labels) in enumerate(ROWS):
        write_wav(folder / file, make_scene(seed, seconds, labels))
        lines.append(f"{file},{expected},{allowed},{seconds},{kind},<b>{file}|</b>")
    (folder / "real.csv").write_text("\n".join(lines) + "\n")
    return folder / "real.csv"


@pytest.fixture(scope="module")
def report(listed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    audio = LabelledAudio.find(None, None, "dev", listed)
    evaluate(load_bundle("urban"), audio, out, command="earmark evaluate", peers=[SteadyPeer()])
    return out


def table_rows(text: str, title: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its header."""
    lines = text.split(f"## {title}\n")[1].splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def test_a_peers_events_are_runs_of_frames_at_the_threshold(report: Path):
    detectors = json.loads((report / "figures.json").read_text())["real"]["detectors"]
    assert list(detectors) == [f"urban {load_bundle('urban').spec.version}", "Steady at 0.5", "Steady at 0.8"]
    low, high = detectors["Steady at 0.5"], detectors["Steady at 0.8"]
    # church_bells is not asked for: the peer has no such class
    assert (low["asked"], low["found"], low["left_out"]) == (1, 1, {"church_bells": 1})
    # rain and siren are wrong in rain.wav and piano.wav, rain for as long as they last
    assert (low["wrong_events"], low["wrong_seconds"]) == (4, 7.0)
    assert low["wrong_time_share"] == pytest.approx(7 / 11, abs=1e-6)
    assert low["kinds"]["music"]["wrong_events_per_hour"] == pytest.approx(2 * 1200)
    assert (high["wrong_events"], high["wrong_seconds"]) == (2, 1.0)
    assert high["labels"]["siren"]["wrong_seconds"] == 1.0


def test_curves_pass_through_the_peers_settings(report: Path):
    real = json.loads((report / "figures.json").read_text())["real"]
    for threshold in (0.5, 0.8):
        (point,) = [point for point in real["curves"]["Steady"] if point["threshold"] == threshold]
        setting = real["detectors"][f"Steady at {threshold:g}"]
        assert {**point, "threshold": 0} == {
            "threshold": 0,
            **{name: setting[name] for name in point if name in setting},
        }


def test_the_report_leads_with_real_recordings(report: Path):
    text = (report / "report.md").read_text()
    assert text.index("## Real recordings") < text.index("## Real recordings by kind")
    rows = table_rows(text, "Real recordings")
    assert rows[1] == ["Steady at 0.5", "1 of 1", "100.0", "4", "1309.1", "63.64"]
    kinds = table_rows(text, "Real recordings by kind")
    assert [row[0] for row in kinds] == ["event", "music"]
    labels = {row[0]: row[2] for row in table_rows(text, "Real recordings by class")}
    assert labels["church_bells"] == "no such class"
    assert labels["siren"] == "1 of 1, 2 (1.0 s) wrong"
    page = (report / "report.html").read_text()
    assert "<b>" not in page
    for name in ("real_wrong_time.png", "real_wrong_events.png", "real_reliability.png"):
        assert (report / name).read_bytes().startswith(b"\x89PNG")
        assert f'<img alt="{name}" src="data:image/png;base64,iVBOR' in page


def test_what_we_miss_is_listed_recording_by_recording(report: Path):
    rows = {row[0]: row for row in table_rows((report / "report.md").read_text(), "Real recordings one by one")}
    assert rows["rain.wav"][-1] == "church_bells"
    assert rows["rain.wav"][2] == "<b>rain.wav\\|</b>"
    assert rows["piano.wav"][5].startswith("siren 1 (")
    assert rows["piano.wav"][-1] == ""


def test_every_recording_of_every_detector_is_in_the_table(report: Path):
    with (report / "real.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["detector"], row["filename"]) for row in rows[3:6]] == [("Steady at 0.5", row[0]) for row in ROWS]
    assert [row["found"] for row in rows[3:6]] == ["1", "", ""]
    assert [row["right"] for row in rows[3:6]] == ["rain siren", "", ""]
    assert [row["wrong"] for row in rows[3:6]] == ["", "rain siren", "rain siren"]
    assert [row["wrong_seconds"] for row in rows[3:6]] == ["0.000", "4.000", "3.000"]


def test_classes_that_the_list_cannot_judge_are_apart(tiny_bundle: Bundle, listed: Path, tmp_path: Path):
    """No list knows the tiny bundle's classes, which hear bands of frequency."""
    evaluation = evaluate(
        tiny_bundle, LabelledAudio.find(None, None, "dev", listed), tmp_path, command="", peers=[SteadyPeer()]
    )
    assert evaluation.real is not None
    assert evaluation.real.ours.total.wrong.n_events == 0
    unjudged = evaluation.real.ours.unjudged
    assert unjudged
    text = (tmp_path / "report.md").read_text()
    assert {row[0] for row in table_rows(text, "Classes that the list cannot judge")} == {
        f"{label}, tiny 1" for label in unjudged
    }
    assert "tiny 1 lacks classes that recordings ask for" in text


def test_the_command_prints_the_headline(listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run_command(["evaluate", "--real", str(listed), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "3 files, 0.00 h, 2 named sounds" in printed
    assert "50.0 % found" in printed
    assert f"--real {listed}" in (tmp_path / "report.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.md", "report.html", "figures.json", "events.tsv", "real.tsv", "real_wrong_time.png",
        "real_wrong_events.png", "real_reliability.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--peer", "yamnet=x"], "--peer: expected --real LIST beside it, got none"),
        (["--real", "{list}", "--peer", "panns=x"], "--peer: expected yamnet=DIR or mn04=DIR, got 'panns=x'"),
        (["--real", "{list}", "--peer", "yamnet"], "--peer: expected yamnet=DIR or mn04=DIR, got 'yamnet'"),
        (
            ["--real", "{list}", "--peer", "yamnet=gone"],
            "expected a list of AudioSet's classes with display_name in gone/yamnet_class_map.csv",
        ),
        (["--real", "gone.csv"], "gone.csv: expected a readable table, got"),
    ],
)
def test_bad_options_get_one_line(
    options: list[str], error: str, listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = [word.format(list=listed) for word in options]
    assert run_command(["evaluate", *words, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert error in printed
    assert printed.count("\n") == 1


def test_a_recording_that_is_also_a_clip_is_refused(listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    index = listed.parent / "index.csv"
    index.write_text("file,kind,split,label\nsiren.wav,event,dev,siren\n")
    words = ["--clips", str(listed.parent), "--real", str(listed), "--out", str(tmp_path / "out")]
    assert run_command(["evaluate", *words]) == 2
    assert "got two called siren.wav (1 in all)" in capsys.readouterr().err
