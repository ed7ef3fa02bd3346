"""Events of a file lie where a player shows them."""

import threading
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config import FileSource
from streamer.sources import Chunk, Lost, open_source
from streamer.sources.placing import Placement, start_of
from tests.streamer.test_faulty_files import heard, heard_bytes
from tests.support.recordings import RATE_HZ, encoded, found_pips, pips

NS = 1_000_000_000
AT_S = [1.0, 4.0, 7.0]


@pytest.mark.parametrize("suffix", ["mp4", "mka", "webm"])
def test_missing_fragments_are_silence_of_their_length(tmp_path, suffix):
    data = encoded(suffix, pips(9.0, AT_S), leave_out_s=(2.0, 3.5))
    found, length_s, notices = heard_bytes(tmp_path, suffix, data)
    assert found == pytest.approx(AT_S, abs=0.05)
    assert length_s == pytest.approx(9.0, abs=0.06)
    (notice,) = notices["hole"]
    assert not notice.is_loss
    assert "got none from 2.0" in notice.problem


def write_video(path, *, sound_from_s, sound=None):
    """Pictures from 0 s on, and pips whose track begins later."""
    sound = pips(4.0, [1.0]) if sound is None else sound
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 16
        pictures.pix_fmt = "yuv420p"
        stream = container.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=RATE_HZ, layout="mono")
        for k in range(60):
            picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, 10)
            container.mux(pictures.encode(picture))
        resampler = av.AudioResampler(stream.format, stream.layout, RATE_HZ, stream.frame_size or 1_024)
        frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
        frame.pts = round(sound_from_s * RATE_HZ)
        for ready in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(ready))
        container.mux([*pictures.encode(None), *stream.encode(None)])
    return path


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_sound_track_that_starts_after_the_pictures_lies_late(tmp_path, suffix):
    found, _, notices = heard(write_video(tmp_path / f"a.{suffix}", sound_from_s=1.5))
    assert found == pytest.approx([2.5], abs=0.05)
    assert not notices


def test_a_sound_that_an_edit_list_delays_lies_late(tmp_path):
    """An MP4 counts from 0, also where nothing else is in it."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        resampler = av.AudioResampler(stream.format, stream.layout, RATE_HZ, stream.frame_size)
        frame = av.AudioFrame.from_ndarray(pips(4.0, [1.0])[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), 2 * RATE_HZ
        for ready in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    assert heard(path)[0] == pytest.approx([3.0], abs=0.05)


def test_a_hole_in_a_streams_file_is_lost_to_the_sample(tmp_path):
    path = tmp_path / "a.mka"
    path.write_bytes(encoded("mka", pips(9.0, AT_S), codec="pcm_s16le", leave_out_s=(2.0, 3.0)))
    source = open_source(FileSource(path=path, pace="fast"), block_s=0.02, stop=threading.Event())
    items = [item for item in source.chunks() if isinstance(item, Chunk | Lost)]
    source.close()
    lost = [item for item in items if isinstance(item, Lost)]
    assert sum(item.n_samples for item in lost) == pytest.approx(RATE_HZ, abs=RATE_HZ // 50)
    whole = np.concatenate(
        [item.audio if isinstance(item, Chunk) else np.zeros(item.n_samples, np.int16) for item in items]
    )
    assert found_pips(whole, RATE_HZ) == pytest.approx(AT_S, abs=0.02)


@given(st.integers(0, 10**15), st.integers(1, 200), st.integers(51, 60_000))
def test_a_hole_is_found_wherever_the_times_start(start_ns, at, hole_ms):
    placement = Placement(start_ns, None)
    times_ns = [start_ns + k * NS // 50 + (hole_ms * 1_000_000 if k >= at else 0) for k in range(300)]
    holes = [placement.hole_ns(NS // 50, time_ns) for time_ns in times_ns]
    assert holes == [hole_ms * 1_000_000 if k == at else 0 for k in range(300)]


def test_times_that_go_back_or_leap_begin_anew():
    placement = Placement(0, None)
    starts_ns = [0, NS, 0, NS, 2 * NS, 10**6 * NS, (10**6 + 1) * NS]
    assert not any(placement.hole_ns(NS, time_ns) for time_ns in starts_ns)


def test_small_losses_add_up():
    placement = Placement(0, None)
    holes = [placement.hole_ns(NS // 50, k * NS // 50 + k // 20 * NS // 50) for k in range(1_000)]
    assert 0 <= 49 * NS // 50 - sum(holes) <= NS // 20


@pytest.mark.parametrize(
    ("name", "start_s", "duration_s", "expected_s"),
    [("mov,mp4,m4a", 2, 6, 0), ("mov,mp4,m4a", 50_000, 6, 50_000), ("matroska,webm", 2, 6, 2), ("mpegts", 1.4, 9, 1.4)],
)
def test_where_a_player_starts(name, start_s, duration_s, expected_s):
    assert start_of(name, round(start_s * NS), round(duration_s * NS)) == round(expected_s * NS)
