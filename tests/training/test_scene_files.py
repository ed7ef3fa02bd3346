"""Scenes to measure on: their truth is what can be heard, and the same seed makes the same files."""

import wave
from pathlib import Path

import numpy as np
import pytest

from earmark.app.cli import run_command
from earmark.contracts.errors import ConfigError
from earmark.evaluation.annotations import IGNORED_FILE, TRUTH_FILE, LabelledEvent, read_tsv
from earmark.training.ambience import Ambiences
from earmark.training.config import TrainConfig
from earmark.training.scene_files import ENERGY_FILE, RunAudio, write_recordings, write_scenes
from tests.training.small_data import LABELS, RATE, write_small_data

TICK = 160
DURATION_S = 6.0
BACKGROUND_HZ = 7000.0


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = tmp_path_factory.mktemp("small")
    data = write_small_data(folder / "data")
    return TrainConfig.model_validate(
        {
            "name": "tones", "description": "three tones", "data": data, "cache": folder / "cache",
            "out": folder / "bundle", "naming": {"neutral": ["pink_noise"]},
        }
    )  # fmt: skip


def write(config: TrainConfig, folder: Path, **changes: object) -> Path:
    chosen = {"split": "dev", "count": 3, "seed": 0, "duration_s": DURATION_S, "empty": False} | changes
    write_scenes(RunAudio(config), folder, **chosen)
    return folder


def read_wav(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


def power_near(spectra: np.ndarray, frequency_hz: float) -> np.ndarray:
    """Power of each tick's spectrum, whose bins are 100 Hz apart, around a frequency."""
    centre = round(frequency_hz / 100)
    return np.square(np.abs(spectra[:, centre - 1 : centre + 3])).sum(axis=1)


def test_the_truth_is_what_can_be_heard(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Over a steady tone that is far from the classes' own, the energy around each of these says when it sounds."""
    steady = lambda self, rng, n: np.sin(2 * np.pi * BACKGROUND_HZ * np.arange(n) / RATE).astype(np.float32)  # noqa: E731
    monkeypatch.setattr(Ambiences, "draw", steady)
    truth = read_tsv(write(config, tmp_path / "out", count=20) / TRUTH_FILE)
    assert sorted(truth) == [f"{i:05d}.wav" for i in range(20)]
    for name, events in truth.items():
        audio = read_wav(tmp_path / "out" / name)
        assert len(audio) == DURATION_S * RATE
        spectra = np.fft.rfft(audio.reshape(-1, TICK) * np.hanning(TICK + 1)[:-1])
        background = np.median(power_near(spectra, BACKGROUND_HZ))
        for label, frequency_hz in LABELS.items():
            said = np.zeros(len(spectra), bool)
            for event in events:
                if event.label == label:
                    said[round(event.onset_s * 100) : round(event.offset_s * 100)] = True
            # No event is more than 5 dB below the background.
            heard = power_near(spectra, frequency_hz) > background * 10 ** (-12 / 10)
            np.testing.assert_array_equal(said, heard, err_msg=f"{name}: {label}")
    assert all(1 <= len(events) <= 6 for events in truth.values())
    assert {event.label for events in truth.values() for event in events} == set(LABELS)


def test_the_same_seed_writes_the_same_bytes(config: TrainConfig, tmp_path: Path):
    first, again, other = (write(config, tmp_path / f"{i}", seed=seed) for i, seed in enumerate((4, 4, 5)))
    names = sorted(path.name for path in first.iterdir())
    assert names == ["00000.wav", "00001.wav", "00002.wav", IGNORED_FILE, TRUTH_FILE, ENERGY_FILE]
    for name in set(names) - {IGNORED_FILE}:
        assert (first / name).read_bytes() == (again / name).read_bytes()
        assert (first / name).read_bytes() != (other / name).read_bytes()


def test_what_is_active_is_either_audible_or_ignored(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Noise that is 20 dB above most of the tones for the second half of each scene drowns many of them."""

    def louder_later(_: Ambiences, rng: np.random.Generator, n_samples: int) -> np.ndarray:
        level = np.where(np.arange(n_samples) < n_samples // 2, 0.01, 1.0)
        return (level * rng.standard_normal(n_samples)).astype(np.float32)

    monkeypatch.setattr(Ambiences, "draw", louder_later)
    folder = write(config, tmp_path / "out", count=40)
    audible, ignored, active = (
        {
            (name, event.label, tick)
            for name, events in read_tsv(folder / table).items()
            for event in events
            for tick in range(round(event.onset_s * 100), round(event.offset_s * 100))
        }
        for table in (TRUTH_FILE, IGNORED_FILE, ENERGY_FILE)
    )
    assert audible | ignored == active
    assert not audible & ignored
    assert ignored
    assert min(tick for _, _, tick in ignored) >= 100 * DURATION_S / 2 - 10


def test_a_scene_is_the_same_whatever_the_count(config: TrainConfig, tmp_path: Path):
    few, many = write(config, tmp_path / "few", count=2), write(config, tmp_path / "many", count=4)
    for name in ("00000.wav", "00001.wav"):
        assert (few / name).read_bytes() == (many / name).read_bytes()
        assert read_tsv(few / TRUTH_FILE)[name] == read_tsv(many / TRUTH_FILE)[name]
    assert len(read_tsv(many / TRUTH_FILE)) == 4


def test_a_split_has_its_own_sounds(config: TrainConfig, tmp_path: Path):
    write(config, tmp_path / "train", split="train", count=1)
    with pytest.raises(ConfigError, match="split 'test'"):
        write(config, tmp_path / "test", split="test")
    assert not (tmp_path / "test").exists()


def test_an_empty_scene_has_a_background_and_no_events(config: TrainConfig, tmp_path: Path):
    folder = write(config, tmp_path / "out", empty=True)
    assert read_tsv(folder / TRUTH_FILE) == {f"{i:05d}.wav": [] for i in range(3)}
    assert all(np.abs(read_wav(folder / f"{i:05d}.wav")).max() > 0 for i in range(3))


def test_a_folder_with_something_in_it_is_refused(config: TrainConfig, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="expected a new or empty folder"):
        write(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    write(config, tmp_path / "empty", count=1)


def test_a_recording_of_several_classes_is_one_file_with_all_of_them(config: TrainConfig, tmp_path: Path):
    data = write_small_data(tmp_path / "data")
    index = data / "index.csv"
    rows = index.read_text().splitlines()
    row = next(row for row in rows if row.startswith("hum_dev_0"))
    heard = row.replace(",event,", ",recording,")
    rows[rows.index(row)] = f"{heard}\n{heard.replace(',hum,', ',siren,').replace('1.0-2.0', '0.5-1.5 3.0-4.0')}"
    index.write_text("\n".join(rows) + "\n")
    write_recordings(RunAudio(config.model_copy(update={"data": data})), tmp_path / "out", split="dev")
    assert read_tsv(tmp_path / "out" / TRUTH_FILE) == {
        "00000.wav": [
            LabelledEvent(0.5, 1.5, "siren"),
            LabelledEvent(1.0, 2.0, "hum"),
            LabelledEvent(3.0, 4.0, "siren"),
        ]
    }


def test_a_scene_that_is_too_short_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = str(tmp_path / "scenes")
    assert run_command(["data", "scenes", "--config", "x.yaml", "--out", folder, "--duration-s", "1"]) == 2
    assert "greater than or equal to 2" in capsys.readouterr().err
