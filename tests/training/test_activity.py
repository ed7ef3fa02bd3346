import numpy as np

from earmark.training.activity import active_ticks, fill_pauses, level, region_ticks

TICK = 160


def tone(amplitude: float, ticks: int) -> np.ndarray:
    return np.full(ticks * TICK, amplitude, np.float32)


def test_from_the_first_to_the_last_tick_within_30_db():
    audio = np.concatenate([tone(0.0, 5), tone(0.02, 5), tone(0.04, 5), tone(1.0, 5), tone(0.04, 5), tone(0.02, 5)])
    expected = np.zeros(30, bool)
    expected[10:25] = True
    np.testing.assert_array_equal(active_ticks(audio, TICK), expected)


def test_a_pause_over_half_a_second_splits():
    short, long = (np.concatenate([tone(1, 3), tone(0, pause), tone(1, 3)]) for pause in (50, 51))
    assert active_ticks(short, TICK).all()
    assert active_ticks(long, TICK).sum() == 6


def test_silence_is_never_active():
    assert not active_ticks(tone(0.0, 4), TICK).any()
    assert len(active_ticks(tone(0.0, 0), TICK)) == 0


def test_the_last_piece_of_a_tick_counts():
    assert len(active_ticks(np.ones(TICK + 1, np.float32), TICK)) == 2


def test_fill_pauses_leaves_the_ends():
    active = np.array([0, 1, 0, 1, 0, 0, 1, 0], bool)
    np.testing.assert_array_equal(fill_pauses(active, 1), np.array([0, 1, 1, 1, 0, 0, 1, 0], bool))


def test_region_ticks_are_hundredths():
    np.testing.assert_array_equal(np.flatnonzero(region_ticks(((0.02, 0.05),), 10)), [2, 3, 4])


def test_level_is_of_the_active_part():
    audio = np.concatenate([tone(0.5, 2), tone(0.0, 2)])
    assert level(audio, np.array([1, 1, 0, 0], bool), TICK) == 0.5
    assert level(audio, np.zeros(4, bool), TICK) == 0
