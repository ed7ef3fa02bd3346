"""The engine inside another program."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.contracts.bundle import shipped_bundles
from earmark.contracts.errors import ConfigError, ShapeError
from earmark.synthesis.scene import demo_scene
from engine.detector import Detector, _as_pcm
from tests.support.audio import tones

BUNDLES = [bundle.spec.name for bundle in shipped_bundles()]


def essence(events):
    return [(e.label, e.phase, e.onset_sample, e.offset_sample) for e in events]


def by_time(events):
    return sorted(essence(events), key=str)


@pytest.fixture
def detector(tiny_bundle):
    return Detector(tiny_bundle.folder)


def test_it_tells_what_begins_and_ends(detector):
    events = detector.feed(tones(0, 5)) + detector.end()
    onsets = {event.event_id for event in events if event.phase == "onset"}
    offsets = {event.event_id for event in events if event.phase == "offset"}
    assert onsets == offsets
    assert len(onsets) > 5
    assert {event.label for event in events} <= set(detector.labels)


@pytest.mark.parametrize("name", BUNDLES)
@given(cuts=st.lists(st.integers(1, 12 * 16_000 - 1), max_size=8))
@settings(max_examples=5, deadline=None)
def test_chunking_never_changes_a_shipped_bundles_events(name, cuts):
    audio = demo_scene().audio[: 12 * 16_000]
    whole, cut = Detector(name), Detector(name)
    parts = [event for part in np.split(audio, sorted(cuts)) for event in cut.feed(part)] + cut.end()
    assert by_time(parts) == by_time(whole.feed(audio) + whole.end())


def test_int16_and_float_are_the_same_sound(tiny_bundle):
    pcm = tones(1, 4)
    ints, floats = Detector(tiny_bundle.folder), Detector(tiny_bundle.folder)
    assert essence(ints.feed(pcm)) == essence(floats.feed(pcm.astype(np.float32) / 32768))


def test_streams_are_strangers(detector, tiny_bundle):
    sounds = {"a": tones(1, 4), "b": tones(2, 4)}
    together = detector.feed_many(sounds)
    for name, pcm in sounds.items():
        alone = Detector(tiny_bundle.folder).feed(pcm)
        assert by_time([event for event in together if event.stream == name]) == by_time(alone)


def test_one_stream_may_end_before_the_other(detector):
    detector.feed_many({"a": tones(1, 2), "b": tones(2, 2)})
    assert {event.stream for event in detector.end("a")} <= {"a"}
    detector.feed(tones(3, 1), stream="b")
    assert detector.end("nobody") == []


def test_scores_are_of_the_recording_alone(detector):
    pcm = tones(4, 3)
    before = detector.scores(pcm, 16_000)
    detector.feed(tones(5, 2))
    assert before.shape == (75, 4)
    np.testing.assert_array_equal(detector.scores(pcm, 16_000), before)


def test_scores_are_the_same_whatever_is_fed_beside_them(detector, tiny_bundle):
    other = Detector(tiny_bundle.folder)
    events = other.feed(tones(5, 2))
    other.scores(tones(4, 3), 16_000)
    events += other.feed(tones(6, 2))
    expected = detector.feed(np.concatenate([tones(5, 2), tones(6, 2)]))
    assert by_time(events) == by_time(expected)


def test_another_rate_is_resampled(detector):
    at_16k = detector.scores(tones(4, 3), 16_000)
    at_48k = detector.scores(np.repeat(tones(4, 3), 3), 48_000)
    assert at_48k.shape == at_16k.shape
    assert np.abs(at_48k[:, 0] - at_16k[:, 0]).mean() < 0.05


def test_no_whole_frame_has_no_scores(detector):
    assert detector.scores(np.zeros(100, np.int16), 16_000).shape == (0, 4)
    assert detector.frame_s == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("audio", "got"),
    [
        (np.zeros((2, 640), np.int16), r"int16 \[2, 640\]"),
        (np.zeros(640, np.int32), r"int32 \[640\]"),
        (np.zeros(640, np.complex64), r"complex64 \[640\]"),
        (np.zeros(640, np.uint8), r"uint8 \[640\]"),
        ([0, 1, 2], r"int64 \[3\]"),
        ([[0.0], [0.0, 1.0]], "setting an array element"),
        ("loud", r"<U4 \[\]"),
        (None, r"object \[\]"),
    ],
)
def test_what_is_no_mono_audio_is_refused(detector, audio, got):
    with pytest.raises(ShapeError, match=rf"expected mono audio, int16 or float \[n\], got {got}"):
        detector.feed(audio)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_every_kind_of_float_is_heard_and_clipped_a_little_beyond_one(kind):
    assert _as_pcm(np.array([0, 0.5, -1, 1, 1.5, -4], kind)).tolist() == [0, 16384, -32768, 32767, 32767, -32768]


def test_lists_of_floats_are_heard(tiny_bundle):
    audio = tones(0, 2) / 32768
    assert essence(Detector(tiny_bundle.folder).feed(audio.tolist())) == essence(
        Detector(tiny_bundle.folder).feed(audio)
    )
    assert Detector(tiny_bundle.folder).feed([]) == []


@pytest.mark.parametrize(
    ("loudest", "explanation"),
    [
        (12_000.0, r"in \[-1, 1\], got values up to 12000; divide by 32768 if it is int16 as float"),
        (-4.5, r"in \[-1, 1\], got values up to 4\.5;"),
        (np.nan, r"expected finite float audio in \[-1, 1\], got nan"),
        (-np.inf, r"expected finite float audio in \[-1, 1\], got inf"),
    ],
)
def test_float_audio_that_is_not_on_the_scale_is_refused(detector, loudest, explanation):
    audio = np.zeros(640, np.float32)
    audio[100] = loudest
    with pytest.raises(ShapeError, match=explanation):
        detector.feed(audio)
    with pytest.raises(ShapeError, match=explanation):
        detector.scores(audio, 16_000)


@pytest.mark.parametrize("rate_hz", [0, -16_000, float("nan")])
def test_a_rate_that_is_none_is_refused(detector, rate_hz):
    with pytest.raises(ConfigError, match=rf"expected sample_rate_hz above 0, got {rate_hz}"):
        detector.scores(tones(0, 1), rate_hz)


@pytest.mark.parametrize("name", ["", "Gate", "/scores", "a" * 33])
def test_a_name_that_is_none_is_refused_before_anything_is_heard(detector, name):
    with pytest.raises(ConfigError, match="a stream's name is"):
        detector.feed_many({"gate": tones(0, 1), name: tones(1, 1)})
    assert detector.end("gate") == []
    with pytest.raises(ConfigError, match="a stream's name is"):
        detector.feed(tones(0, 1), stream=name)


def test_scores_that_fail_leave_nothing_behind(detector, monkeypatch):
    before = detector.scores(tones(4, 3), 16_000)

    def fail():
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(detector._analyser, "collect", fail)
        with pytest.raises(MemoryError):
            detector.scores(tones(5, 1), 16_000)
    assert detector.end() == []
    np.testing.assert_array_equal(detector.scores(tones(4, 3), 16_000), before)


def test_the_runtime_tells_nobody_and_leaves_nothing_behind(tiny_bundle, tmp_path):
    """ONNX Runtime's telemetry is on by default: it numbers the machine in the user's cache, and calls its makers."""
    known = {
        name: value for name, value in os.environ.items() if name not in {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    }
    program = "import sys, numpy; from earmark import Detector; Detector(sys.argv[1]).feed(numpy.zeros(16000, 'int16'))"
    subprocess.run(
        [sys.executable, "-c", program, tiny_bundle.folder], env={**known, "HOME": str(tmp_path)}, check=True
    )
    assert list(tmp_path.rglob("*")) == []
