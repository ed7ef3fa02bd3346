from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earmark.contracts.bundle import FrontEnd
from earmark.contracts.errors import ConfigError
from earmark.training.activity import active_ticks
from earmark.training.cache import AudioCache
from earmark.training.config import Naming, SceneConfig
from earmark.training.feed import Encoder
from earmark.training.index import read_index
from earmark.training.scenes import LOWEST_COLOUR_HZ, SceneMixer, _Canvas, recolour, respeed, reverberate
from earmark.training.sources import Sound, SoundBank, longest_beginning
from engine.frontend import LogMel
from tests.training.small_data import LABELS, RATE, write_small_data
from tests.training.sound_files import bursts, write_pcm, write_sound, write_table

TICK = 160
NAMING = Naming(neutral=("pink_noise",))


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> SoundBank:
    data = write_small_data(tmp_path_factory.mktemp("data"))
    recordings = read_index(data)
    cache = AudioCache.build(data, recordings, tmp_path_factory.mktemp("cache"), RATE)
    return SoundBank(recordings, "train", cache, NAMING, RATE)


def mixer(bank: SoundBank, **changes: object) -> SceneMixer:
    return SceneMixer(bank, SceneConfig(**changes), bank.labels, RATE)


def encoder(bank: SoundBank) -> Encoder:
    return Encoder(LogMel(FrontEnd()), bank.labels, hops_per_score=2)


def test_only_the_split_is_read(bank: SoundBank):
    assert {recording.split for recording in bank.recordings} == {"train"}
    assert bank.labels == tuple(LABELS)


def test_a_sounds_level_against_all_else():
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    for snr_db in (-14.0, 3.0):
        canvas = _Canvas(2 * RATE, TICK)
        canvas.audio += np.float32(np.sqrt(0.5)) * np.where(np.arange(2 * RATE) % 2, 1, -1)
        canvas.add(Sound("tone", tone, np.ones(100, bool)), 50, 10 ** (snr_db / 20))
        canvas.scale(0.01)
        (event,) = canvas.events({"tone": 0})
        assert event.snr_db == pytest.approx(snr_db, abs=0.1)
        assert np.flatnonzero(event.active).tolist() == list(range(50, 150))


def test_two_classes_of_one_sound_do_not_drown_each_other():
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    later = np.arange(100) >= 40
    canvas = _Canvas(2 * RATE, TICK)
    canvas.add(Sound("tone", tone, np.ones(100, bool), others=(("hum", later),)), 50, 1.0)
    canvas.add(Sound("cough", tone, np.zeros(100, bool)), 0, 0.01)
    canvas.audio += np.random.default_rng(0).standard_normal(2 * RATE, np.float32)
    canvas.scale(0.1)
    tone_ticks, hum_ticks = canvas.audible()
    assert np.flatnonzero(tone_ticks).tolist() == list(range(50, 150))
    assert np.flatnonzero(hum_ticks).tolist() == list(range(90, 150))


def test_what_is_drowned_is_not_audible():
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    canvas = _Canvas(2 * RATE, TICK)
    canvas.add(Sound("tone", tone, np.ones(100, bool)), 50, 1.0)
    canvas.audio[RATE:] += 100 * np.random.default_rng(0).standard_normal(RATE, np.float32)
    canvas.scale(0.001)
    (ticks,) = canvas.audible()
    # The last 50 ms before the noise are decided by a window that ends in it.
    assert np.flatnonzero(ticks).tolist() == list(range(50, 95))


def test_a_split_without_events_is_refused(bank: SoundBank):
    with pytest.raises(ConfigError, match="split 'test'"):
        SoundBank(bank.recordings, "test", bank._cache, NAMING, RATE)


def test_labels_are_exact(bank: SoundBank):
    """In plain scenes a tone sounds over nothing or faint noise, so energy says where it is."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        scene = mixer(bank, speed_share=0, colour_share=0, synthetic_share=0, microphone_share=0).plain(rng)
        truth = np.any([active for _, active, _ in scene.events], axis=0)
        loud = np.square(scene.audio).reshape(-1, TICK).mean(axis=1) > 0.015**2
        np.testing.assert_array_equal(truth, loud)


def test_features_and_labels_of_an_event_fall_into_the_same_frames(bank: SoundBank):
    rng = np.random.default_rng(1)
    examples = encoder(bank)(
        [mixer(bank, speed_share=0, colour_share=0, synthetic_share=0, microphone_share=0).plain(rng) for _ in range(4)]
    )
    assert examples.features.shape == (4, 400, 64)
    loud = examples.features.reshape(4, 200, 128).max(axis=2) > -3
    active = examples.labels.any(axis=2)
    # A window fades in and out: it hardly sees a tone that begins at its end, and still sees one that just stopped.
    n_edges = 2 * sum(label >= 0 for label in examples.event_labels.flat)
    assert (active != loud).sum() <= n_edges
    assert active.sum() > 100


def test_an_empty_scene_has_no_labels(bank: SoundBank):
    scene = mixer(bank).mixed(np.random.default_rng(2), 0)
    assert scene.events == ()
    assert 0 < np.abs(scene.audio).max() <= 1


def test_mixed_scenes_have_at_most_their_events(bank: SoundBank):
    rng = np.random.default_rng(3)
    for _ in range(10):
        scene = mixer(bank).mixed(rng, 3)
        assert len(scene.events) <= 3
        assert scene.audio.shape == (8 * RATE,)
        assert np.abs(scene.audio).max() <= 1


def test_the_same_seed_makes_the_same_scene(bank: SoundBank):
    first, second = (mixer(bank).scene(np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first.audio, second.audio)


def test_a_microphone_changes_what_is_captured_and_nothing_else(bank: SoundBank):
    for seed in range(3):
        plain, cheap = (
            mixer(bank, microphone_share=share).mixed(np.random.default_rng(seed), 3) for share in (0.0, 1.0)
        )
        np.testing.assert_array_equal(plain.audio, plain.sound)
        np.testing.assert_array_equal(cheap.sound, plain.sound)
        assert [label for label, *_ in cheap.events] == [label for label, *_ in plain.events]
        np.testing.assert_array_equal([a for _, a, _ in cheap.events], [a for _, a, _ in plain.events])
    spoilt = [mixer(bank, microphone_share=1).mixed(np.random.default_rng(seed), 3) for seed in range(8)]
    assert any(not np.array_equal(scene.audio, scene.sound) for scene in spoilt)
    assert max(np.abs(scene.audio).max() for scene in spoilt) <= 1


def test_a_scene_to_measure_on_is_never_spoilt(bank: SoundBank):
    rng = np.random.default_rng(5)
    for _ in range(10):
        scene = mixer(bank, microphone_share=1).test(rng)
        assert 1 <= len(scene.events) <= SceneConfig().max_events
        np.testing.assert_array_equal(scene.audio, scene.sound)
        assert len(scene.audible) == len(scene.events)
        assert not any(
            (audible & ~event.active).any() for audible, event in zip(scene.audible, scene.events, strict=True)
        )
    assert mixer(bank).test(rng, empty=True).events == ()


def test_speed_moves_the_labels_along():
    audio = np.zeros(RATE, np.float32)
    audio[4000:8000] = 0.5
    sound = Sound("hum", audio, active_ticks(audio, TICK))
    fast = respeed(sound, 1.25, TICK)
    assert len(fast.audio) == pytest.approx(RATE / 1.25, abs=1)
    np.testing.assert_array_equal(np.flatnonzero(fast.active), np.arange(20, 40))


def test_speech_keeps_its_annotated_labels_at_another_speed():
    sound = Sound("speech", np.ones(RATE, np.float32), np.arange(100) < 50)
    np.testing.assert_array_equal(respeed(sound, 2.0, TICK).active, np.arange(50) < 25)


def test_a_room_of_one_impulse_changes_nothing():
    audio = np.sin(np.arange(RATE) / 10, dtype=np.float32)
    sound = Sound("hum", audio, active_ticks(audio, TICK))
    np.testing.assert_allclose(reverberate(sound, np.ones(1, np.float32), TICK).audio, audio, atol=1e-5)


def test_another_colour_changes_tones_by_its_gains_and_nothing_else():
    """Two gains are a slope over the octaves from the lowest frequency to half the rate."""
    seconds = np.arange(RATE) / RATE
    octaves = np.log2(RATE / 2 / LOWEST_COLOUR_HZ)
    for hz in (50.0, LOWEST_COLOUR_HZ, 1000.0, 4000.0):
        tone = np.sin(2 * np.pi * hz * seconds).astype(np.float32)
        coloured = recolour(Sound("tone", tone, np.ones(100, bool)), np.array([-8.0, 8.0]), TICK)
        assert coloured.active.all()
        middle = slice(RATE // 4, -RATE // 4)
        gain_db = 20 * np.log10(coloured.audio[middle].std() / tone[middle].std())
        octave = max(0.0, np.log2(hz / LOWEST_COLOUR_HZ))
        assert gain_db == pytest.approx(-8 + 16 * octave / octaves, abs=0.1)


def test_sounds_are_varied_as_often_as_the_config_says(bank: SoundBank):
    rng = np.random.default_rng(0)
    tone = np.sin(np.arange(RATE)).astype(np.float32)
    sound = Sound("tone", tone, np.ones(100, bool))
    never = mixer(bank, speed_share=0, colour_share=0)
    assert never._varied(sound, rng) is sound
    coloured = mixer(bank, speed_share=0, colour_share=0.25)
    varied = [coloured._varied(sound, rng) for _ in range(400)]
    assert 60 < sum(one is not sound for one in varied) < 140
    assert all(len(one.audio) == RATE for one in varied)


def test_the_longest_beginning_counts():
    known = {"rain": "rain", "rain_on_tin": "drum"}
    assert longest_beginning("rain_on_tin_2", known) == "drum"
    assert longest_beginning("rain_light", known) == "rain"
    assert longest_beginning("train", known) is None


def bank_of(folder: Path, *rows: str, pcm: np.ndarray) -> SoundBank:
    """Of one sound file, ``street.wav``, listed by these rows of ``label,kind,regions``."""
    write_pcm(folder / "street.wav", pcm)
    write_sound(folder / "other.wav")
    write_table(
        folder / "index.csv",
        "file,split,label,kind,regions",
        *(f"street.wav,train,{row}" for row in rows),
        "other.wav,train,other,event,",
    )
    recordings = read_index(folder)
    return SoundBank(recordings, "train", AudioCache.build(folder, recordings, folder / "cache", RATE), NAMING, RATE)


def active_seconds(sounds: list[Sound], label: str) -> set[int]:
    """Whole seconds of their files in which sounds are active as this class."""
    found = [{s.label: s.active, **dict(s.others)}.get(label, np.zeros(1, bool)) for s in sounds]
    return {int(tick) // 100 for active in found for tick in np.flatnonzero(active)}


def test_a_class_is_active_in_its_regions_and_not_in_the_noise_around_them(tmp_path: Path):
    bank = bank_of(tmp_path, "dog,event,1-2 4-5", pcm=bursts(0, 6 * RATE))
    rng = np.random.default_rng(0)
    clips = [clip for clip in (bank.clip(rng, made_share=0) for _ in range(20)) if clip.label == "dog"]
    assert active_seconds(clips, "dog") == {1, 4}
    fast = respeed(clips[0], 2.0, TICK)
    assert active_seconds([fast], "dog") == {0, 2}
    cut = bank._sound("dog", bank._by_label["dog"][0], rng)
    assert np.flatnonzero(cut.active).tolist() == [*range(100), *range(300, 400)]


@pytest.mark.parametrize("kind", ["event", "recording"])
def test_a_file_of_two_classes_is_labelled_with_both(tmp_path: Path, kind: str):
    """In a whole clip, in a piece cut out for one of them, and in the scene that either stands in."""
    bank = bank_of(tmp_path, f"dog,{kind},1-2", f"siren,{kind},0-4", pcm=bursts(0, 5 * RATE))
    rng = np.random.default_rng(0)
    sounds = [bank.event(rng, speech_share=0, made_share=0) for _ in range(40)]
    assert {sound.label for sound in sounds} == {"dog", "siren", "other"}
    for sound in sounds:
        if sound.label != "other":
            (other,) = sound.others
            assert {sound.label, other[0]} == {"dog", "siren"}
            assert not (~sound.active & other[1]).any() or sound.label == "dog"
    scenes = [mixer(bank, synthetic_share=0).scene(rng) for _ in range(10)]
    told = [{bank.labels[event.label]: event.active for event in scene.events} for scene in scenes]
    assert any("dog" in labels for labels in told)
    assert all("siren" in labels for labels in told if "dog" in labels)


def test_a_file_of_two_classes_without_regions_is_both_wherever_it_sounds(tmp_path: Path):
    bank = bank_of(tmp_path, "dog,event,", pcm=bursts(0))
    weak = [replace(each, also=("siren",)) for each in bank.recordings if each.label == "dog"]
    bank = SoundBank([*weak, replace(weak[0], label="siren", also=("dog",))], "train", bank._cache, NAMING, RATE)
    sound = bank.clip(np.random.default_rng(0), made_share=0)
    ((_, other),) = respeed(sound, 1.1, TICK).others
    np.testing.assert_array_equal(other, respeed(sound, 1.1, TICK).active)
    assert other.any()


def test_a_recording_is_of_its_own_class_and_may_be_short(tmp_path: Path):
    """Not of speech, which most of the recordings that people annotate are of."""
    bank = bank_of(tmp_path, "dog,recording,0.2-0.9", pcm=bursts(0))
    speech = [replace(each, label="speech") for each in bank.recordings if each.label == "other"]
    bank = SoundBank([*bank.recordings, *speech], "train", bank._cache, NAMING, RATE)
    rng = np.random.default_rng(0)
    drawn = [bank.event(rng, speech_share=0.5, made_share=0) for _ in range(40)]
    dogs = [sound for sound in drawn if sound.label == "dog"]
    assert dogs
    assert all(np.flatnonzero(sound.active).tolist() == list(range(20, 90)) for sound in dogs)
