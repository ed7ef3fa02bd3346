"""``earmark data check`` and ``data scenes``: exit codes and what they print."""

import json
import wave

import pytest
import yaml

from earmark.app.cli import run_command
from earmark.evaluation.annotations import read_tsv
from tests.training.small_data import LABELS, write_small_data
from tests.training.sound_files import write_sound, write_table


@pytest.fixture
def check(capsys, tmp_path):
    def check(*arguments):
        code = run_command(["data", "check", *map(str, arguments), "--cache", str(tmp_path / "cache")])
        return code, *capsys.readouterr()

    return check


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    for name in ("a.wav", "b.wav"):
        write_sound(folder / name)
    write_table(folder / "index.csv", "file,label,split,licence", "a.wav,dog,train,CC0", "b.wav,dog,dev,CC BY-NC 3.0")
    return folder


def test_warnings_are_no_failure(check, data):
    code, out, _ = check(data)
    assert code == 0
    assert "index: 2 usable files, 1 s" in out
    assert "licences that forbid commercial use: CC BY-NC 3.0 (1 files)" in out
    assert "Rejects: none" in out


def test_rejects_fail(check, data):
    write_table(data / "index.csv", "file,label,split", "a.wav,dog,train", "gone.wav,dog,dev")
    code, out, err = check(data)
    assert code == 1
    assert "Rejects: 1\n  index.csv:3: gone.wav: there is no such file" in out
    assert "gone.wav" not in err


def test_leaks_fail(check, data):
    (data / "b.wav").write_bytes((data / "a.wav").read_bytes())
    code, out, _ = check(data)
    assert code == 1
    assert "Leaks: 1\n  content a.wav: dev, train: a.wav, b.wav" in out


def test_json(check, data):
    code, out, _ = check(data, "--json")
    report = json.loads(out)
    assert (code, report["layout"], report["files"], report["licences"]) == (
        0,
        "index",
        2,
        {"CC0": 1, "CC BY-NC 3.0": 1},
    )
    assert report["counts"][0] == {"kind": "event", "split": "dev", "label": "dog", "files": 1, "seconds": 0.5}


def test_bad_input_is_one_line(check, tmp_path):
    code, out, err = check(tmp_path / "none")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("earmark: error: expected labelled audio listed in")


def test_no_audio_at_all(check, data):
    write_table(data / "index.csv", "file,label", "gone.wav,dog")
    assert check(data)[0] == 1


def test_alone_is_its_help(capsys):
    assert run_command(["data"]) == 0
    assert "check" in capsys.readouterr().out


@pytest.fixture
def scenes(capsys, tmp_path):
    run = {
        "name": "tones", "description": "three tones", "data": str(write_small_data(tmp_path / "data")),
        "cache": str(tmp_path / "cache"), "out": str(tmp_path / "bundle"), "naming": {"neutral": ["pink_noise"]},
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))

    def scenes(*arguments):
        command = ["data", "scenes", "--config", tmp_path / "run.yaml", "--out", tmp_path / "scenes", *arguments]
        code = run_command(list(map(str, command)))
        return code, *capsys.readouterr()

    return scenes


def test_scenes_are_written_with_their_truth(scenes, tmp_path):
    code, out, _ = scenes("--count", 3, "--duration-s", 4)
    assert (code, out) == (0, f"wrote 3 scenes to {tmp_path / 'scenes'}\n")
    truth = read_tsv(tmp_path / "scenes" / "truth.tsv")
    assert list(truth) == ["00000.wav", "00001.wav", "00002.wav"]
    assert {event.label for events in truth.values() for event in events} <= set(LABELS)
    assert all(events for events in truth.values())
    with wave.open(str(tmp_path / "scenes" / "00000.wav")) as file:
        assert file.getnframes() == 4 * 16_000


def test_empty_scenes_have_no_events(scenes, tmp_path):
    assert scenes("--count", 2, "--empty")[0] == 0
    assert read_tsv(tmp_path / "scenes" / "truth.tsv") == {"00000.wav": [], "00001.wav": []}


def test_scenes_never_replace_anything(scenes, tmp_path):
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "mine.wav").write_bytes(b"mine")
    code, out, err = scenes("--count", 1)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("earmark: error: expected a new or empty folder")
    assert [path.name for path in (tmp_path / "scenes").iterdir()] == ["mine.wav"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--split", "nowhere"), "split 'nowhere'"),
        (("--config", "none.yaml"), "expected a training config in none.yaml"),
    ],
)
def test_scenes_of_nothing_are_one_line(scenes, tmp_path, arguments, message):
    code, out, err = scenes(*arguments)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
    assert not (tmp_path / "scenes").exists()
