"""``earmark detect``: what it tells of files, and of files that are none."""

import csv
import json
import os
import subprocess
import wave
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soxr

from earmark.app.child import earmark_command
from earmark.app.cli import run_command
from earmark.app.detect import detect_files
from earmark.contracts.bundle import Bundle
from engine.detector import Detector
from tests.support.audio import RATE_HZ, tones
from tests.support.tiny_bundle import write_tiny_bundle


def write_wav(path: Path, pcm: np.ndarray, *, rate_hz: int = RATE_HZ) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())
    return path


def extents(events) -> list[tuple[str, int, int]]:
    return sorted((event.label, event.onset_sample, event.offset_sample) for event in events if event.phase == "offset")


@pytest.fixture
def earmark(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]):
    def earmark(*arguments: object) -> tuple[int, list[str], str]:
        code = run_command(["detect", "--bundle", str(tiny_bundle.folder), *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return earmark


def test_many_files_are_told_in_order_as_each_alone(tiny_bundle, tmp_path):
    recordings = [tones(seed, 1.0 + seed % 5) for seed in range(20)]
    paths = [write_wav(tmp_path / f"{index}.wav", pcm) for index, pcm in enumerate(recordings)]
    heard_s: list[float] = []
    results = list(detect_files(paths, Detector(tiny_bundle.folder), on_audio=heard_s.append))
    assert [result.path for result in results] == paths
    assert sum(heard_s) == pytest.approx(sum(map(len, recordings)) / RATE_HZ)
    for pcm, result in zip(recordings, results, strict=True):
        alone = Detector(tiny_bundle.folder)
        assert extents(result.events) == extents(alone.feed(pcm) + alone.end())
        assert (result.n_samples, result.error) == (len(pcm), None)
    assert any(result.events for result in results)


def test_the_pieces_are_what_is_heard(tiny_bundle, tmp_path):
    recordings = [tones(seed, 3.0 + seed) for seed in range(3)]
    paths = [write_wav(tmp_path / f"{index}.wav", pcm) for index, pcm in enumerate(recordings)]
    pieces: dict[Path, list[np.ndarray]] = {path: [] for path in paths}
    list(detect_files(paths, Detector(tiny_bundle.folder), on_piece=lambda path, pcm: pieces[path].append(pcm)))
    for path, pcm in zip(paths, recordings, strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces[path]), pcm)


def test_another_rate_is_resampled(tiny_bundle, tmp_path):
    pcm = tones(1, 5.0)
    path = write_wav(tmp_path / "cd.wav", soxr.resample(pcm, RATE_HZ, 44_100), rate_hz=44_100)
    original = write_wav(tmp_path / "original.wav", pcm)
    resampled, as_is = detect_files([path, original], Detector(tiny_bundle.folder))
    assert abs(resampled.n_samples - len(pcm)) <= 1
    assert {event.label for event in resampled.events} == {event.label for event in as_is.events}


def test_tsv(earmark, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = write_wav(folder / "a.wav", tones(3, 4.0))
    code, lines, err = earmark("--format", "tsv", path)
    assert (code, err) == (0, "")
    assert lines[0] == "filename\tonset\toffset\tevent_label"
    rows = [line.split("\t") for line in lines[1:]]
    assert rows
    for name, onset, offset, label in rows:
        assert name == "a.wav"
        assert len(onset.partition(".")[2]) == len(offset.partition(".")[2]) == 3
        assert 0 <= float(onset) < float(offset) <= 4.0
        assert label in {"low", "mid", "high", "top"}


def test_another_bundle_may_confirm(earmark, tmp_path):
    path = write_wav(tmp_path / "a.wav", tones(3, 6.0))
    judge = write_tiny_bundle(tmp_path / "judge", warmup_s=3.0, smoothing={"onset_threshold": 0.999})
    alone, confirmed = earmark(path)[1], earmark("--bundle", judge, "--confirm", judge, path)[1]
    assert 0 < len(confirmed) < len(alone)
    code, lines, err = earmark("--confirm", "nowhere", path)
    assert (code, lines) == (2, [])
    assert "got 'nowhere'" in err


def test_all_formats_tell_the_same(earmark, tmp_path):
    path = write_wav(tmp_path / "a.wav", tones(3, 4.0))
    tsv = [line.split("\t")[1:] for line in earmark("--format", "tsv", path)[1][1:]]
    audacity = [line.split("\t") for line in earmark("--format", "audacity", path)[1]]
    jsonl = [json.loads(line) for line in earmark("--format", "jsonl", path)[1]]
    text = earmark(path)[1]
    assert len(tsv) == len(audacity) == len(jsonl) == len(text)
    for row, track, event, line in zip(tsv, audacity, jsonl, text, strict=True):
        assert [float(track[0]), float(track[1]), track[2]] == [float(row[0]), float(row[1]), row[2]]
        assert (event["filename"], event["phase"], event["label"]) == (str(path), "offset", row[2])
        assert [event["onset_s"], event["offset_s"]] == [float(row[0]), float(row[1])]
        assert event["onset_sample"] / event["sample_rate_hz"] == float(row[0])
        assert line.split()[0] == str(path)
        assert line.split()[-2] == row[2]


def test_spreadsheets_and_raven_get_the_same_as_others(earmark, tmp_path):
    path = write_wav(tmp_path / "a, b.wav", tones(3, 4.0))
    tsv = [line.split("\t")[1:] for line in earmark("--format", "tsv", path)[1][1:]]
    rows = list(csv.DictReader(earmark("--format", "csv", path)[1]))
    table = list(csv.DictReader(earmark("--format", "raven", path)[1], delimiter="\t"))
    assert [[row["onset_s"], row["offset_s"], row["label"]] for row in rows] == tsv
    assert {row["filename"] for row in rows} == {str(path)}
    assert [int(row["Selection"]) for row in table] == list(range(1, len(tsv) + 1))
    found = [[float(row["Begin Time (s)"]), float(row["End Time (s)"]), row["Annotation"]] for row in table]
    assert found == [[float(onset), float(offset), label] for onset, offset, label in tsv]
    assert len(tsv) > 2


def test_labels_and_thresholds_choose(earmark, tmp_path):
    path = write_wav(tmp_path / "a.wav", tones(3, 8.0))

    def heard(*arguments):
        return [line.split("\t")[3] for line in earmark("--format", "tsv", *arguments, path)[1][1:]]

    everything = heard()
    assert set(everything) > {"low", "high"}
    assert heard("--labels", "low", "--labels", "high") == [label for label in everything if label in {"low", "high"}]
    assert heard("--threshold", "1.0") == []
    assert len(heard("--threshold", "0.99")) < len(everything)
    code, _, err = earmark("--labels", "lwo", path)
    assert (code, err) == (2, "earmark: error: --labels: the bundle has no label 'lwo'; did you mean low?\n")
    assert (
        earmark("--threshold", "1.5", path)[2] == "earmark: error: expected a threshold above 0 and up to 1, got 1.5\n"
    )


def test_events_are_dated_by_when_their_file_was_recorded(earmark, tmp_path):
    path = write_wav(tmp_path / "20260224_161937.WAV", tones(3, 4.0))
    for line in earmark("--format", "jsonl", "--recorded-at", "from-name", path)[1]:
        event = json.loads(line)
        begin = datetime(2026, 2, 24, 16, 19, 37, tzinfo=UTC)
        for phase in ("onset", "offset"):
            wall = datetime.fromisoformat(event[f"{phase}_time"])
            assert (wall - begin).total_seconds() == pytest.approx(event[f"{phase}_s"], abs=1e-3)
    times = [json.loads(line)["offset_time"] for line in earmark("--format", "jsonl", path)[1]]
    assert times
    assert all(datetime.fromisoformat(time) <= datetime.now(UTC) for time in times)
    assert earmark("--recorded-at", "from-name", write_wav(tmp_path / "yard.wav", tones(3, 1.0)))[0] == 2


def test_a_file_without_events_is_told_to_people_alone(earmark, tmp_path):
    quiet = write_wav(tmp_path / "quiet.wav", np.zeros(RATE_HZ, np.int16))
    loud = write_wav(tmp_path / "a.wav", tones(3, 4.0))
    code, lines, err = earmark(quiet, loud)
    assert (code, err) == (0, "")
    assert lines[0] == f"{quiet}  nothing heard"
    assert [line.split()[0] for line in lines[1:]] == [str(loud)] * (len(lines) - 1)
    assert not any(earmark("--format", kind, quiet)[1] for kind in ("jsonl", "audacity"))
    assert earmark(tmp_path / "missing.wav")[1] == []


def zero_hz(path: Path) -> Path:
    header = bytearray(write_wav(path, tones(0, 0.1)).read_bytes())
    header[24:28] = b"\0\0\0\0"
    path.write_bytes(header)
    return path


def truncated(path: Path) -> Path:
    whole = write_wav(path, tones(0, 1.0)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def missing(path: Path) -> Path:
    return path


def junk(path: Path) -> Path:
    path.write_bytes(b"no sound" * 100)
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("make", [zero_hz, missing, junk, empty, folder])
def test_a_bad_file_is_one_line_and_disturbs_no_other(earmark, tmp_path, make):
    good = [write_wav(tmp_path / f"{index}.wav", tones(index, 3.0)) for index in range(3)]
    bad = make(tmp_path / "bad.wav")
    expected = earmark("--format", "tsv", *good)
    code, lines, err = earmark("--format", "tsv", good[0], bad, *good[1:])
    assert code == 2
    assert lines == expected[1]
    (line,) = err.splitlines()
    assert line.startswith(f"earmark: error: {bad}: expected ")


def test_of_a_truncated_file_the_rest_is_told_with_a_warning(earmark, tmp_path):
    whole = write_wav(tmp_path / "whole.wav", tones(0, 1.0))
    cut = truncated(tmp_path / "cut.wav")
    half = write_wav(tmp_path / "half.wav", tones(0, 1.0)[: (cut.stat().st_size - 44) // 2])
    expected = [line.split("\t")[1:] for line in earmark("--format", "tsv", half)[1][1:]]
    code, lines, err = earmark("--format", "tsv", cut, whole)
    assert code == 1
    assert [line.split("\t")[1:] for line in lines[1:] if line.startswith("cut")] == expected
    assert any(line.startswith("whole") for line in lines)
    (line,) = err.splitlines()
    assert line.startswith(f"earmark: warning: {cut}: expected 32000 bytes of audio as its header says, got ")
    assert earmark(cut, tmp_path / "none.wav")[0] == 2


def test_names_come_out_as_they_are(tiny_bundle, tmp_path):
    """Whatever the encoding: a name that is no text of the terminal's own is written as its bytes."""
    names = [b"12:34.wav", "名前.wav".encode(), "Café.wav".encode("latin-1")]
    for name in names:
        write_wav(tmp_path / "a.wav", tones(3, 3.0)).replace(tmp_path / os.fsdecode(name))
    command = earmark_command("detect", "--bundle", str(tiny_bundle.folder), "--format", "tsv", str(tmp_path))
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {line.split(b"\t")[0] for line in done.stdout.splitlines()[1:]} == set(names)


def test_standard_input(tiny_bundle, tmp_path):
    path = write_wav(tmp_path / "a.wav", tones(3, 3.0))
    command = earmark_command("detect", "--bundle", str(tiny_bundle.folder), "--format", "audacity")
    found = [
        subprocess.run([*command, name], input=path.read_bytes(), capture_output=True, timeout=60, check=False).stdout
        for name in ("-", "/dev/stdin", str(path))
    ]
    assert found[0] == found[1] == found[2] != b""


def test_seven_channels(earmark, tmp_path):
    pcm = np.zeros((RATE_HZ * 3, 7), np.int16)
    pcm[:, 6] = tones(3, 3.0)
    path = write_wav(tmp_path / "seven.wav", pcm)
    assert earmark("--format", "tsv", path)[1] == ["filename\tonset\toffset\tevent_label"]
    assert len(earmark("--format", "tsv", "--channel", 6, path)[1]) > 1
    stereo = write_wav(tmp_path / "stereo.wav", pcm[:, 5:])
    assert len(earmark("--format", "tsv", "--channel", "mix", stereo)[1]) > 1
    assert "expected a number from 0 or mix, got '-1'" in earmark("--channel", "-1", path)[2]
    code, _, err = earmark("--channel", 7, path)
    assert code == 2
    (line,) = err.splitlines()
    assert "got channel 7" in line
