"""``earmark report``: the same events as ``earmark detect``, in figures and in a picture; never over the recording."""

import json
from pathlib import Path

import numpy as np
import pytest

from earmark.app.cli import run_command
from earmark.app.detect import detect_files
from earmark.contracts.bundle import Bundle
from earmark.synthesis.scene import make_scene, write_wav
from engine.detector import Detector
from tests.app.test_detect import truncated
from tests.app.test_detect import write_wav as write_pcm
from tests.support.audio import RATE_HZ, tones

PNG = b"\x89PNG"


@pytest.fixture
def report(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def report(*arguments: object) -> tuple[int, str, str]:
        code = run_command(["report", "--bundle", str(tiny_bundle.folder), *map(str, arguments)])
        return code, *capsys.readouterr()

    return report


@pytest.fixture
def scene_wav(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    write_wav(folder / "scene.wav", make_scene(2, 20.0))
    return folder / "scene.wav"


def test_help(capsys):
    assert run_command(["report", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: earmark report")


def test_the_figures_are_those_of_detect(report, scene_wav, tiny_bundle):
    (result,) = detect_files([scene_wav], Detector(tiny_bundle.folder))
    code, out, err = report("--format", "json", scene_wav)
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["analysed_s"] == result.n_samples / RATE_HZ == 20.0
    assert (document["ended_early"], document["picture"]) == (None, "scene-report.png")
    assert {one["label"] for one in document["classes"]} == {event.label for event in result.events}
    assert result.events
    for one in document["classes"]:
        extents = [
            (event.onset_sample / RATE_HZ, event.offset_sample / RATE_HZ)
            for event in result.events
            if event.label == one["label"]
        ]
        assert max(offset for _, offset in extents) <= 20.0
        lengths = [offset - onset for onset, offset in extents]
        assert one["n_events"] == len(extents)
        assert one["total_s"] == pytest.approx(sum(lengths), abs=1e-4)
        assert one["share"] == pytest.approx(sum(lengths) / 20.0, abs=1e-4)
        assert one["longest_s"] == pytest.approx(max(lengths), abs=1e-4)
        assert one["first_onset_s"] == pytest.approx(min(extents)[0], abs=1e-4)
    assert Path("scene-report.png").read_bytes().startswith(PNG)


def test_all_formats_tell_the_same(report, scene_wav):
    classes = json.loads(report("--format", "json", scene_wav)[1])["classes"]
    head, *rows = [line.split("\t") for line in report("--format", "tsv", scene_wav)[1].splitlines()]
    assert head == ["filename", "analysed_s", *classes[0]]
    assert rows == [
        ["scene.wav", "20.0", *("" if value is None else str(value) for value in one.values())] for one in classes
    ]
    first, blank, columns, *table, blank_too, last = report(scene_wav)[1].splitlines()
    assert (first, blank, blank_too) == (f"{scene_wav}: 20.0 s analysed", "", "")
    assert last == "picture: scene-report.png"
    assert columns.split()[:3] == ["class", "events", "total"]
    assert [line.split()[:2] for line in table] == [[one["label"], str(one["n_events"])] for one in classes]


def test_an_older_report_is_replaced(report, scene_wav, tmp_path):
    out = tmp_path / "Report.HTML"
    out.write_text("old")
    assert report("--out", out, scene_wav)[0] == 0
    assert out.read_text().startswith("<!doctype html>")
    assert report("--out", "report.svg", scene_wav)[0] == 0
    assert "<svg" in Path("report.svg").read_text()
    assert not Path("scene-report.png").exists()


def test_labels(report, scene_wav):
    heard = json.loads(report("--format", "json", scene_wav)[1])["classes"]
    some = json.loads(report("--format", "json", "--labels", " top, low,top", scene_wav)[1])["classes"]
    assert {one["label"] for one in some} == {"top", "low"}
    assert [one for one in some if one["n_events"]] == [one for one in heard if one["label"] in {"top", "low"}]


def test_nothing_heard(report, tmp_path):
    quiet = write_pcm(tmp_path / "quiet.wav", np.zeros(RATE_HZ, np.int16))
    code, out, err = report(quiet)
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"{quiet}: 1.0 s analysed", "", "nothing heard", "", "picture: quiet-report.png"]
    assert len(report("--format", "tsv", quiet)[1].splitlines()) == 1
    assert Path("quiet-report.png").read_bytes().startswith(PNG)


def test_what_was_read_of_a_file_that_ends_early_is_told(report, tmp_path):
    flac = tmp_path / "cut.flac"
    write_flac(flac, tones(3, 20.0))
    content = bytearray(flac.read_bytes())
    flac.write_bytes(content[: len(content) // 2])
    code, out, err = report("--format", "json", flac)
    document = json.loads(out)
    assert code == 1
    assert f"earmark: warning: {document['ended_early']}" in err.splitlines()
    assert 0 < document["analysed_s"] < 20
    assert Path("cut-report.png").read_bytes().startswith(PNG)
    assert "analysed, where it ended early" in report(flac)[1].splitlines()[0]


def write_flac(path: Path, pcm: np.ndarray) -> None:
    import av  # noqa: PLC0415

    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=RATE_HZ, layout="mono")
        for at in range(0, len(pcm), 4096):
            frame = av.AudioFrame.from_ndarray(pcm[None, at : at + 4096], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_of_a_truncated_file_the_rest_is_reported_with_a_warning(report, tmp_path):
    cut = truncated(tmp_path / "cut.wav")
    code, out, err = report(cut)
    assert code == 1
    assert "analysed, where it ended early" in out.splitlines()[0]
    (line,) = err.splitlines()
    assert line.startswith(f"earmark: warning: {cut}: expected 32000 bytes of audio as its header says, got ")


@pytest.mark.parametrize("make", [lambda path: path, Path.mkdir])
def test_a_bad_file_is_one_line_and_makes_no_picture(report, tmp_path, make):
    bad = tmp_path / "bad.wav"
    make(bad)
    code, out, err = report(bad)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(f"earmark: error: {bad}: expected ")
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--out", "a.pdf"], "--out a.pdf: expected a name that ends in .png, .svg, .html"),
        (["--out", "none/a.png"], "--out none/a.png: expected a folder none to write into, got none"),
        (["--out", "folder.png"], "--out folder.png: expected a file, got a folder"),
        (["--out", f"{'x' * 300}.png"], "File name too long"),
        (["--labels", "lwo"], "--labels: the bundle has no label 'lwo'; did you mean low?"),
        (["--labels", " , "], "--labels ' , ': expected labels with commas between them"),
        (["--format", "xml"], "'xml' is not one of"),
        (["--channel", "3"], "got channel 3"),
        (["second.wav"], "unexpected extra argument(s) (second.wav)"),
    ],
)
def test_bad_arguments_are_one_line(report, scene_wav, arguments, expected):
    Path("folder.png").mkdir()
    code, out, err = report(scene_wav, *arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("earmark: error: ")
    assert expected in line


@pytest.mark.parametrize("link", [False, True])
def test_the_recording_is_never_replaced(report, scene_wav, link):
    disguised = scene_wav.rename("a.png")
    out = disguised
    if link:
        out = Path("link.png")
        out.symlink_to(disguised)
    before = disguised.read_bytes()
    code, _, err = report("--out", out, disguised)
    assert code == 2
    assert "expected another file than the recording itself" in err
    assert disguised.read_bytes() == before


def test_a_picture_that_cannot_be_written_costs_no_figures(report, scene_wav):
    Path("full.png").symlink_to("/dev/full")
    code, out, err = report("--out", "full.png", scene_wav)
    assert code == 2
    assert "20.0 s analysed" in out
    (line,) = err.splitlines()
    assert "--out full.png: expected to write there, got: No space left on device" in line
