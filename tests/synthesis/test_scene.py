"""Scenes: truth that agrees with the audio, and files that say the same."""

import wave
from pathlib import Path

import numpy as np
import pytest

from earmark.contracts.errors import ConfigError
from earmark.synthesis.scene import Scene, demo_scene, make_scene, write_wav
from earmark.synthesis.shaping import Audio
from earmark.synthesis.sounds import LABELS


@pytest.fixture(scope="module", params=["demo", 1, 2])
def scene(request: pytest.FixtureRequest) -> Scene:
    return demo_scene() if request.param == "demo" else make_scene(request.param)


def level_dbfs(audio: Audio) -> float:
    return float(10 * np.log10(np.mean(np.square(audio, dtype=np.float64))))


def pauses(scene: Scene) -> list[Audio]:
    edges = [0, *(at for e in scene.truth for at in (e.onset_sample, e.offset_sample)), len(scene.audio)]
    return [scene.audio[start:stop] for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def test_holds_each_label_once_in_order_of_onset(scene: Scene):
    assert sorted(extent.label for extent in scene.truth) == sorted(LABELS)
    onsets = [extent.onset_sample for extent in scene.truth]
    assert onsets == sorted(onsets)
    assert scene.audio.shape == (30 * 16_000,)
    assert scene.audio.dtype == np.float32


def test_pauses_are_half_a_second_or_more_and_only_background(scene: Scene):
    for pause in pauses(scene):
        assert len(pause) >= 8_000
        assert level_dbfs(pause) == pytest.approx(-60, abs=1.5)


def test_every_extent_is_loud_where_truth_says(scene: Scene):
    for extent in scene.truth:
        sound = scene.audio[extent.onset_sample : extent.offset_sample]
        assert -42 < level_dbfs(sound) < -11, extent.label
        assert level_dbfs(sound[:1600]) > -50, extent.label
        assert level_dbfs(sound[-3200:]) > -55, extent.label


def test_never_clips(scene: Scene):
    assert np.abs(scene.audio).max() < 0.95


def test_a_seed_makes_one_scene_and_another_seed_another():
    first, again, other = (make_scene(seed, 12.0, LABELS[:3]) for seed in (5, 5, 6))
    assert first.truth == again.truth
    assert first.truth != other.truth
    np.testing.assert_array_equal(first.audio, again.audio)


@pytest.mark.parametrize(("duration_s", "labels"), [(2.5, ["rain"]), (60.0, ["siren", "siren"]), (5.0, ["rain"] * 3)])
def test_any_choice_of_labels_fits(duration_s: float, labels: list[str]):
    scene = make_scene(0, duration_s, labels)
    assert [extent.label for extent in scene.truth] == labels
    assert all(len(pause) >= 8_000 for pause in pauses(scene))


def test_no_labels_make_only_background():
    assert make_scene(0, 2.0, []).truth == ()


def test_a_scene_too_short_for_its_sounds_is_refused():
    with pytest.raises(ConfigError, match=r"8 sounds takes 9\.4 s or more, not 5\.0 s"):
        make_scene(0, 5.0)


def test_an_unknown_label_is_refused():
    with pytest.raises(ConfigError, match="'dog'"):
        make_scene(0, 10.0, ["dog"])


def test_a_wav_file_reads_back(tmp_path: Path):
    scene = make_scene(3, 4.0, ["engine"], 22_050)
    write_wav(tmp_path / "scene.wav", scene)
    with wave.open(str(tmp_path / "scene.wav"), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22_050)
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    np.testing.assert_allclose(pcm / 32768, scene.audio, atol=0.51 / 32768)


def test_a_wav_file_clips_what_passes_full_scale(tmp_path: Path):
    write_wav(tmp_path / "loud.wav", Scene(np.array([2.0, -2.0], np.float32), 16_000, ()))
    with wave.open(str(tmp_path / "loud.wav"), "rb") as file:
        assert np.frombuffer(file.readframes(2), "<i2").tolist() == [32767, -32768]
