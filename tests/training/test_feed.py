"""A run that goes on is fed what an uninterrupted one would be."""

import os
import signal
from dataclasses import fields
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from earmark.contracts.bundle import FrontEnd
from earmark.contracts.errors import ConfigError
from earmark.training.cache import AudioCache
from earmark.training.config import Naming, SceneConfig
from earmark.training.feed import AUDIBLE_DB, MAX_EVENTS, Encoder, Examples, _mix_for_ever, batches
from earmark.training.index import read_index
from earmark.training.scenes import Scene, SceneEvent, SceneMixer
from earmark.training.sources import SoundBank
from earmark.training.teacher import COLUMN, Taught
from engine.frontend import LogMel
from tests.support.waiting import DEADLINE_S, is_running, wait_for
from tests.training.small_data import RATE, write_small_data

LABELS, N_SAMPLES = ("a", "b", "c"), 2 * RATE


class LevelTeacher:
    """Teaches the level of each column, which is its score of every class too."""

    def __init__(self, n_labels: int = len(LABELS)) -> None:
        self._n_labels = n_labels

    def __call__(self, audio: np.ndarray) -> Taught:
        padded = np.pad(audio, (COLUMN // 2, COLUMN // 2))
        n_columns = len(audio) // COLUMN + 1
        columns = padded[: n_columns * COLUMN].reshape(n_columns, COLUMN)
        levels = np.sqrt(np.square(columns).mean(axis=1, keepdims=True))
        return Taught(levels, np.repeat(levels, self._n_labels, axis=1))


@pytest.fixture(scope="module")
def mixer(tmp_path_factory: pytest.TempPathFactory) -> SceneMixer:
    folder: Path = tmp_path_factory.mktemp("small")
    data = write_small_data(folder / "data")
    recordings = read_index(data)
    cache = AudioCache.build(data, recordings, folder / "cache", RATE)
    bank = SoundBank(recordings, "train", cache, Naming(neutral=("pink_noise",)), RATE)
    return SceneMixer(bank, SceneConfig(duration_s=2.0), bank.labels, RATE)


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(LogMel(FrontEnd()), LABELS, hops_per_score=2, teacher=LevelTeacher())


def drawn(
    mixer: SceneMixer, encoder: Encoder, *, steps: int, pool: int, first_step: int = 0, seed: int = 0
) -> list[Examples]:
    feed = batches(mixer, encoder, batch=4, fresh=2, pool=pool, seed=seed, first_step=first_step)
    try:
        return [next(feed) for _ in range(steps)]
    finally:
        feed.close()


def assert_same(found: list[Examples], expected: list[Examples]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        for field in fields(Examples):
            mine, other = getattr(ours, field.name), getattr(theirs, field.name)
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine, other, err_msg=field.name)


@pytest.mark.parametrize("pool", [1, 20, 1000])
def test_going_on_is_as_if_never_stopped(mixer: SceneMixer, encoder: Encoder, pool: int):
    """A pool of 20 scenes is full after the second step; one of 1 keeps what the first batch needs."""
    whole = drawn(mixer, encoder, steps=15, pool=pool)
    for first_step in (1, 13):
        assert_same(
            drawn(mixer, encoder, steps=2, pool=pool, first_step=first_step), whole[first_step : first_step + 2]
        )


def big_piece(_number: int) -> bytes:
    return bytes(1 << 20)


def be_killed(told: Connection) -> None:
    """A loop that takes nothing, tells which process its worker is once the queue is full, and is gone."""
    context = get_context("spawn")
    queue = context.Queue(2)
    worker = context.Process(target=_mix_for_ever, args=(big_piece, queue, 0))
    worker.start()
    wait_for(queue.full)
    told.send(worker.pid)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_loop_leaves_no_worker():
    heard, told = Pipe(duplex=False)
    loop = get_context("spawn").Process(target=be_killed, args=(told,))
    loop.start()
    assert heard.poll(DEADLINE_S)
    worker: int = heard.recv()
    loop.join(DEADLINE_S)
    wait_for(lambda: not is_running(worker), "the worker's end")


def test_a_batch_depends_on_the_seed(mixer: SceneMixer, encoder: Encoder):
    first, second = (drawn(mixer, encoder, steps=1, pool=20, seed=seed)[0] for seed in (0, 1))
    assert not np.array_equal(first.features, second.features)


def test_a_scene_comes_at_most_once_a_batch_and_then_again(mixer: SceneMixer, encoder: Encoder):
    scenes = [{features.tobytes() for features in each.features} for each in drawn(mixer, encoder, steps=12, pool=20)]
    assert all(len(batch) == 4 for batch in scenes)
    assert len(set.union(*scenes)) < 48
    assert len(set.union(*scenes)) > 12


def test_the_teacher_hears_what_the_microphone_did_not_spoil(encoder: Encoder):
    sound = np.repeat(np.float32([0.25, 0.5]), N_SAMPLES // 2)
    active = np.zeros(200, bool)
    active[21:40] = True
    scene = Scene(np.zeros(N_SAMPLES, np.float32), sound, (SceneEvent(1, active, snr_db=0.0),))
    examples = encoder([scene, scene])
    n_columns = N_SAMPLES // COLUMN + 1
    assert examples.taught.shape == (2, n_columns, 1)
    assert examples.taught[0, 1, 0] == np.float16(0.25)
    assert examples.taught[0, -2, 0] == np.float16(0.5)
    silence = LogMel(FrontEnd())(np.zeros((1, FrontEnd().win_length), np.float32))
    assert np.allclose(examples.features, silence[0, 0])
    assert examples.event_labels[0].tolist() == [1] + [-1] * (MAX_EVENTS - 1)
    np.testing.assert_array_equal(np.flatnonzero(examples.labels[0, :, 1]), np.arange(5, 10))
    np.testing.assert_array_equal(examples.event_frames[0, 0], examples.labels[0, :, 1])


def test_what_cannot_be_heard_is_labelled_but_no_event(encoder: Encoder):
    active = np.ones(200, bool)
    events = tuple(SceneEvent(label, active, AUDIBLE_DB - 0.1 if label == 1 else AUDIBLE_DB) for label in (1, 2))
    examples = encoder([Scene(np.zeros(N_SAMPLES, np.float32), np.zeros(N_SAMPLES, np.float32), events)])
    assert examples.labels[0, :, 1:3].all()
    assert sorted(set(examples.event_labels[0].tolist())) == [-1, 2]


def test_a_doubtful_class_is_labelled_with_the_teachers_score(encoder: Encoder):
    """Only where that is more than the list says, and only that class."""
    sound = np.repeat(np.float32([0.25, 0.5]), N_SAMPLES // 2)
    active = np.zeros(200, bool)
    active[100:120] = True
    scene = Scene(sound, sound, (SceneEvent(1, active, snr_db=0.0),), frozenset({"b", "unknown"}))
    labels = encoder([scene]).labels[0]
    assert not labels[:, [0, 2]].any()
    assert (labels[8:16, 1] == np.float16(0.25)).all()
    assert (labels[25:30, 1] == 1).all()
    assert (labels[34:40, 1] == np.float16(0.5)).all()


def test_without_a_teacher_nothing_is_taught():
    scene = Scene(np.zeros(N_SAMPLES, np.float32), np.zeros(N_SAMPLES, np.float32), ())
    assert Encoder(LogMel(FrontEnd()), LABELS, 2)([scene] * 3).taught.shape == (3, 0, 0)


@pytest.mark.parametrize(("hop_length", "sample_rate_hz"), [(200, 16_000), (256, 16_000), (441, 22_050)])
def test_labels_that_would_drift_from_the_features_are_refused(hop_length: int, sample_rate_hz: int):
    with pytest.raises(ConfigError, match=f"got front_end.hop_length {hop_length} at {sample_rate_hz} Hz"):
        Encoder(LogMel(FrontEnd(hop_length=hop_length, sample_rate_hz=sample_rate_hz)), LABELS, 2)


def test_a_scene_that_ends_within_a_hop_is_cut_to_whole_scores():
    active = np.zeros(213, bool)
    active[100:104] = True
    audio = np.zeros(213 * RATE // 100, np.float32)
    examples = Encoder(LogMel(FrontEnd()), LABELS, 2)([Scene(audio, audio, (SceneEvent(1, active, 0.0),))])
    assert examples.features.shape[1] == 106
    assert examples.labels.shape[1] == 53
    assert np.flatnonzero(examples.labels[0, :, 1]).tolist() == [25]
