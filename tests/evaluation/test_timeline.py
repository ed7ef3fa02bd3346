"""A recording's overview and its figures: pooled rightly however it is cut, in bounded memory, and drawn whole."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.contracts.bundle import FrontEnd
from earmark.evaluation.overview import MAX_COLUMNS, Overview
from earmark.evaluation.timeline import (
    COLUMNS,
    Recording,
    cells,
    clock_text,
    draw,
    part_length_s,
    render,
    span_text,
    summarise,
)
from earmark.synthesis.scene import Scene, make_scene
from engine.frontend import LogMel
from tests.support.audio import RATE_HZ
from tests.support.events import make_event

FRONT_END = FrontEnd()
HOP = FRONT_END.hop_length


def pcm_of(scene: Scene) -> np.ndarray:
    return np.clip(np.rint(scene.audio * 32768), -32768, 32767).astype(np.int16)


def ended(label: str, onset_s: float, offset_s: float, *, score: float = 0.9, level_db: float | None = -20.0):
    """An event as its offset tells it."""
    event = make_event(round(onset_s * RATE_HZ), label=label)
    offset = round(offset_s * RATE_HZ)
    return event.model_copy(
        update={"phase": "offset", "offset_sample": offset, "score_peak": score, "level_db": level_db}
    )


def overview_of(pcm: np.ndarray, max_columns: int = MAX_COLUMNS) -> Overview:
    overview = Overview(FRONT_END, max_columns)
    overview.add(pcm)
    return overview


def recording_of(scene: Scene) -> Recording:
    """The scene with its truth for what was heard."""
    rate = scene.sample_rate_hz
    events = [ended(one.label, one.onset_sample / rate, one.offset_sample / rate) for one in scene.truth]
    return Recording("scene.wav", len(scene.audio) / rate, events, overview_of(pcm_of(scene)))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(1, 20.0)


def features_of(pcm: np.ndarray) -> np.ndarray:
    """The front end's own, all at once, ``[T, n_mels]``."""
    log_mel = LogMel(FRONT_END)
    whole = pcm[: len(pcm) // HOP * HOP].astype(np.float32) / 32768
    return log_mel(np.concatenate([np.zeros(log_mel.tail_length, np.float32), whole])[None])[0]


def test_without_pooling_it_is_the_front_ends_log_mel(scene):
    pcm = pcm_of(scene)
    overview = overview_of(pcm)
    assert (overview.n_columns, overview.hops_per_column, overview.column_s) == (1000, 1, HOP / RATE_HZ)
    np.testing.assert_allclose(overview.mel_db, 10 / np.log(10) * features_of(pcm), rtol=0, atol=1e-4)


@pytest.mark.parametrize("max_columns", [2, 10, 64, 998])
def test_a_column_is_the_most_of_its_hops(scene, max_columns):
    pcm = pcm_of(scene)[: -3 * HOP // 2]
    overview = overview_of(pcm, max_columns)
    features = features_of(pcm)
    width = overview.hops_per_column
    assert max_columns / 2 <= overview.n_columns <= max_columns
    pooled = [features[at : at + width].max(axis=0) for at in range(0, len(features), width)]
    np.testing.assert_allclose(overview.mel_db, 10 / np.log(10) * np.array(pooled), rtol=0, atol=1e-4)
    hops = (pcm[: len(features) * HOP].reshape(-1, HOP) / 32768) ** 2
    power = hops.mean(axis=1)
    groups = [power[at : at + width] for at in range(0, len(power), width)]
    np.testing.assert_allclose(overview.mean_level_db, 10 * np.log10([group.mean() for group in groups]), atol=1e-3)
    np.testing.assert_allclose(overview.peak_level_db, 10 * np.log10([group.max() for group in groups]), atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 40_000), max_size=12), max_columns=st.sampled_from([2, 8, 50, 2000]))
def test_how_the_audio_is_cut_does_not_matter(cuts, max_columns):
    pcm = np.random.default_rng(5).integers(-3000, 3000, 40_000).astype(np.int16)
    whole, cut = overview_of(pcm, max_columns), Overview(FRONT_END, max_columns)
    for piece in np.split(pcm, sorted(cuts)):
        cut.add(piece)
    assert (cut.n_columns, cut.hops_per_column) == (whole.n_columns, whole.hops_per_column)
    np.testing.assert_allclose(cut.mel_db, whole.mel_db, atol=1e-4)
    np.testing.assert_allclose(cut.mean_level_db, whole.mean_level_db, atol=1e-6)
    np.testing.assert_allclose(cut.peak_level_db, whole.peak_level_db, atol=1e-6)


def test_a_day_takes_no_more_memory_than_an_hour():
    small = FrontEnd(sample_rate_hz=100, n_fft=4, win_length=2, hop_length=2, n_mels=1, fmin_hz=1, fmax_hz=50)
    overview = Overview(small)
    piece = np.full(36_000, 100, np.int16)  # six minutes at 50 hops a second, as the real front end has
    tracemalloc.start()
    peaks = []
    for _ in range(24):
        for _ in range(10):
            overview.add(piece)
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert MAX_COLUMNS / 2 <= overview.n_columns <= MAX_COLUMNS
    assert (overview.n_columns - 1) * overview.column_s < 86_400 <= overview.n_columns * overview.column_s
    assert peaks[-1] <= peaks[0] + 100_000
    np.testing.assert_allclose(overview.mean_level_db, 20 * np.log10(100 / 32768))


def test_silence_has_no_level():
    overview = overview_of(np.zeros(RATE_HZ, np.int16))
    assert np.isnan(overview.mean_level_db).all()
    assert np.isnan(overview.peak_level_db).all()


def test_a_bands_frequency_rises_to_the_end_of_the_front_end():
    hz = overview_of(np.zeros(0, np.int16)).band_hz
    assert (np.diff(hz) > 0).all()
    assert FRONT_END.fmin_hz < hz[0] < 125
    assert 7000 < hz[-1] < FRONT_END.fmax_hz


@pytest.mark.parametrize(
    ("duration_s", "part_s"), [(1, 10), (29, 10), (30, 10), (180, 60), (1800, 600), (10_800, 3600), (86_400, 3600)]
)
def test_parts(duration_s, part_s):
    assert part_length_s(duration_s) == part_s


def test_figures_are_those_of_the_events():
    events = [
        ended("dog", 5.0, 6.5, score=0.7, level_db=-30.0),
        ended("dog", 19.0, 24.0, score=0.95, level_db=-10.0),
        ended("cat", 0.5, 1.0, level_db=None),
    ]
    recording = Recording("a.wav", 40.0, events, overview_of(np.zeros(0, np.int16)))
    dog, cat = summarise(recording)
    assert (dog.label, dog.n_events, dog.score_peak, dog.loudest_db) == ("dog", 2, 0.95, -10.0)
    assert (dog.total_s, dog.share, dog.longest_s, dog.first_onset_s) == pytest.approx((6.5, 6.5 / 40, 5.0, 5.0))
    assert (dog.busiest_from_s, dog.busiest_s) == pytest.approx((20.0, 4.0))  # an event is split where the part ends
    assert (cat.label, cat.n_events, cat.loudest_db, cat.busiest_from_s) == ("cat", 1, None, 0.0)
    assert cells(dog, 10.0) == (
        *("dog", "2", "6.5 s", "16.2%", "5.0 s", "5.0 s"),
        *("4.0 s in 0:00:20-0:00:30", "-10.0 dBFS", "0.95"),
    )
    assert cells(cat, 10.0)[-2:] == ("-", "0.90")


def test_labels_that_were_asked_for_are_told_heard_or_not():
    events = [ended("dog", 5.0, 6.5), ended("cat", 0.5, 1.0)]
    recording = Recording("a.wav", 40.0, events, overview_of(np.zeros(0, np.int16)), labels=("siren", "cat"))
    assert [(one.label, one.n_events, one.total_s) for one in summarise(recording)] == [
        ("cat", 1, 0.5),
        ("siren", 0, 0),
    ]
    siren = cells(summarise(recording)[1], 10.0)
    assert siren == ("siren", "0", "0.0 s", "0.0%", *"-----")
    assert len(siren) == len(COLUMNS)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "0:01:00"), (3725.4, "1:02:05"), (90_000, "25:00:00")],
)
def test_spans(seconds, text):
    assert span_text(seconds) == text


def test_a_clock_counts_no_sixtieth_second():
    assert clock_text(3599.7) == "1:00:00"


def lanes_of(recording: Recording):
    figure = draw(recording)
    figure.canvas.draw()
    _, _, lanes, *_ = figure.axes
    return lanes


def test_a_lane_for_each_class_and_a_bar_for_each_event(scene):
    recording = recording_of(scene)
    lanes = lanes_of(recording)
    classes = summarise(recording)
    assert [text.get_text() for text in lanes.get_yticklabels()] == [
        f"{one.label}  {span_text(one.total_s)}" for one in classes
    ]
    assert [one.total_s for one in classes] == sorted((one.total_s for one in classes), reverse=True)
    (bars,) = lanes.collections
    extents = [path.get_extents() for path in bars.get_paths()]
    order = [one.label for one in classes]
    drawn = {(order[round((box.y0 + box.y1) / 2)], round(box.x0, 3), round(box.x1, 3)) for box in extents}
    assert drawn == {
        (event.label, round(event.onset_sample / RATE_HZ, 3), round(event.offset_sample / RATE_HZ, 3))
        for event in recording.events
    }
    assert lanes.get_xlim() == (0, recording.duration_s)


@pytest.mark.parametrize(
    ("duration_s", "unit", "texts"),
    [
        (0.5, "s", ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        (10.0, "s", [str(second) for second in range(11)]),
        (240.0, "min:s", ["0:00", "0:30", "1:00", "1:30", "2:00", "2:30", "3:00", "3:30", "4:00"]),
        (10_800.0, "h:mm", ["0:00", "0:30", "1:00", "1:30", "2:00", "2:30", "3:00"]),
        (86_400.0, "h:mm", [f"{hour}:00" for hour in range(0, 25, 2)]),
    ],
)
def test_ticks_are_round(duration_s, unit, texts):
    lanes = lanes_of(Recording("a.wav", duration_s, [], overview_of(np.zeros(0, np.int16))))
    inside = [
        text.get_text() for text in lanes.get_xticklabels() if -1e-9 <= text.get_position()[0] <= duration_s + 1e-9
    ]
    assert inside == texts
    assert lanes.get_xlabel() == unit


def test_no_text_lies_on_another(scene):
    figure = draw(replace(recording_of(scene), name="a rather long name of a recording.wav"))
    figure.canvas.draw()
    top, level, lanes, *_ = figure.axes
    texts = [
        *(text for axes in (top, level, lanes) for text in axes.get_yticklabels()),
        *lanes.get_xticklabels(),
        *(axes.yaxis.label for axes in (top, level)),
    ]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert not [1 for place, box in enumerate(boxes) for other in boxes[:place] if box.overlaps(other)]


@pytest.mark.parametrize("kind", ["png", "svg", "html"])
@pytest.mark.parametrize("n_samples", [0, 100, HOP, 8000])
def test_silence_and_next_to_nothing_can_be_drawn(kind, n_samples):
    recording = Recording("a.wav", max(1, n_samples) / RATE_HZ, [], overview_of(np.zeros(n_samples, np.int16)))
    assert render(recording, kind)


def test_names_and_labels_are_text(scene):
    recording = replace(recording_of(scene), name="$x_{<b>\n\udcff 録音.wav", ended_early="cut <off>")
    recording = replace(recording, events=[*recording.events, ended("$\\frac$", 1.0, 2.0, score=0.5)])
    assert render(recording, "png").startswith(b"\x89PNG")
    assert b"<svg" in render(recording, "svg")
    page = render(recording, "html").decode()
    assert "$x_{&lt;b&gt;?? 録音.wav" in page
    assert "cut &lt;off&gt;" in page
    for one in summarise(recording):
        assert f"<td>{one.label}</td><td>{one.n_events}</td>" in page
