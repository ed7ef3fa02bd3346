"""What each kind of recording is good for, and what may be in it besides."""

from pathlib import Path

import numpy as np
import pytest

from earmark.training.cache import AudioCache
from earmark.training.config import Naming, SceneConfig
from earmark.training.index import read_index, read_lists
from earmark.training.scenes import SceneMixer, _Canvas
from earmark.training.sources import Sound, SoundBank
from tests.training.sound_files import RATE, write_sound, write_table

TICK = 160
ROWS = {
    "dog.wav": "event,dog",
    "yard.wav": "ambience,a_yard",
    "tune.wav": "music,a_tune",
    "talk.wav": "speech_more,a_talk",
    "owl.wav": "unlabelled,owl_hoot",
    "thing.wav": "unlabelled,a_thing",
    "game.wav": "extra,a_game",
}
NAMING = Naming(kinds={"music": "music"}, extra={"owl": "owl"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    for file in ROWS:
        write_sound(folder / file, 3.0)
    write_table(folder / "index.csv", "file,split,kind,label", *(f"{file},train,{row}" for file, row in ROWS.items()))
    return folder


def bank_of(folder: Path, naming: Naming = NAMING, **options: object) -> SoundBank:
    recordings = read_index(folder)
    cache = AudioCache.build(folder, recordings, folder / "cache", RATE)
    return SoundBank(recordings, "train", cache, naming, RATE, **options)


def distractors(bank: SoundBank) -> set[int]:
    """The distractors' lengths and first samples, which name their files."""
    rng = np.random.default_rng(0)
    return {hash(sound.audio.tobytes()) for _ in range(60) if (sound := bank.distractor(rng))}


def test_kinds_and_names_give_classes(folder: Path):
    assert bank_of(folder).labels == ("dog", "music", "owl")
    assert bank_of(folder, Naming()).labels == ("dog",)


def test_sounds_of_no_class_are_distractors(folder: Path):
    """An extra sound only if its name says so, or a teacher says what it may be."""
    assert len(distractors(bank_of(folder))) == 3  # yard, talk, thing
    assert len(distractors(bank_of(folder, Naming()))) == 5  # and tune, owl
    assert len(distractors(bank_of(folder, Naming(distractors=("a_game",))))) == 6
    assert len(distractors(bank_of(folder, Naming(), doubts={"game.wav": frozenset()}))) == 6


def test_a_bed_is_as_long_as_it_must_be_and_of_a_class_that_its_kind_names(folder: Path):
    bed = bank_of(folder).bed(np.random.default_rng(0), 5 * RATE)
    assert bed is not None
    assert (bed.label, len(bed.audio)) == ("music", 5 * RATE)
    assert bank_of(folder, Naming()).bed(np.random.default_rng(0), RATE) is None


def test_what_may_be_in_a_recording_goes_with_it_into_the_scene(folder: Path):
    doubts = {"yard.wav": frozenset({"owl"}), "dog.wav": frozenset({"dog", "music"}), "thing.wav": frozenset({"dog"})}
    bank = bank_of(folder, doubts=doubts)
    rng = np.random.default_rng(0)
    clips = {sound.label: sound for sound in (bank.clip(rng, made_share=0) for _ in range(30))}
    assert clips["dog"].doubts == {"music"}
    assert clips["owl"].doubts == frozenset()
    mixer = SceneMixer(bank, SceneConfig(quiet_background_share=0, distractor_share=1), bank.labels, RATE)
    found = [mixer.mixed(rng, 0).doubts for _ in range(40)]
    assert frozenset({"owl"}) in found or frozenset({"owl", "dog"}) in found
    assert any("dog" in each for each in found)
    assert all(each <= {"owl", "dog"} for each in found)


def test_a_background_that_nobody_hears_leaves_no_doubt(folder: Path):
    bank = bank_of(folder, doubts={"yard.wav": frozenset({"owl"})})
    mixer = SceneMixer(bank, SceneConfig(quiet_background_share=1, distractor_share=0), bank.labels, RATE)
    rng = np.random.default_rng(0)
    assert all(mixer.mixed(rng, 0).doubts == frozenset() for _ in range(20))


def test_certain_sounds_alone(folder: Path):
    bank = bank_of(folder, doubts={"owl.wav": frozenset({"dog"}), "tune.wav": frozenset()}, certain=True)
    assert bank.labels == ("dog", "music")


def test_several_lists_are_one(folder: Path, tmp_path: Path):
    write_sound(tmp_path / "more" / "cat.wav")
    write_table(tmp_path / "more" / "mine.csv", "file,label", "cat.wav,cat")
    recordings = read_lists([folder, tmp_path / "more" / "mine.csv"])
    assert {each.label for each in recordings} >= {"dog", "cat"}
    assert all((folder / each.file).is_file() for each in recordings)


def test_a_label_ends_where_all_else_drowns_the_sound():
    """A tone at full level for a second and 40 dB softer for another, in noise 20 dB below it."""
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE).astype(np.float32)
    tone[RATE:] *= 0.01
    canvas = _Canvas(3 * RATE, TICK)
    canvas.audio += (0.07 * rng.standard_normal(3 * RATE)).astype(np.float32)
    canvas.add(Sound("tone", tone, np.ones(200, bool)), 50, 1.0)
    canvas.scale(0.1)
    (whole,), (audible,) = canvas.events({"tone": 0}), canvas.events({"tone": 0}, audible_db=-10.0)
    assert whole.active.sum() == 200
    where = np.flatnonzero(audible.active)
    assert where[0] == 50
    assert where[-1] == pytest.approx(150, abs=6)


def test_a_sound_that_is_never_audible_is_no_event():
    canvas = _Canvas(RATE, TICK)
    canvas.audio += np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    canvas.add(Sound("tone", np.full(RATE, 0.01, np.float32), np.ones(100, bool)), 0, 1.0)
    assert len(canvas.events({"tone": 0})) == 1
    assert canvas.events({"tone": 0}, audible_db=-20.0) == ()
