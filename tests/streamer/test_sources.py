"""Sources on real files and pipes."""

import itertools
import os
import struct
import threading
import wave

import av
import numpy as np
import pytest

from earmark.contracts.errors import SourceError
from streamer.config import FileSource, SilenceSource, StdinSource
from streamer.sources import Chunk, NewRate, Pacer, open_source
from streamer.sources.file import SoundFile
from streamer.sources.silence import Silence
from streamer.sources.stdin import Stdin
from tests.support.waiting import DEADLINE_S

NEVER = threading.Event()


def write_wav(path, pcm, rate_hz=16_000):
    """``pcm`` is int16 ``[n]`` or ``[n, channels]``."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())
    return path


def noise(n, channels=None, seed=0):
    shape = n if channels is None else (n, channels)
    return np.random.default_rng(seed).integers(-20_000, 20_000, shape).astype(np.int16)


def heard(source, at_most=None):
    """All audio of a source as one array, and the capture times that it gave."""
    chunks, times, n = [], [], 0
    for chunk in source.chunks():
        if not isinstance(chunk, Chunk):
            continue
        chunks.append(chunk.audio)
        times += [] if chunk.captured_at_ns is None else [chunk.captured_at_ns]
        n += len(chunk.audio)
        if at_most is not None and n >= at_most:
            break
    source.close()
    return np.concatenate(chunks), times


def open_file(path, **settings):
    return open_source(FileSource(path=path, **{"pace": "fast", **settings}), block_s=0.02, stop=NEVER)


def test_a_file_is_heard_whole(tmp_path):
    pcm = noise(50_000)
    source = open_file(write_wav(tmp_path / "a.wav", pcm, 44_100))
    assert source.sample_rate_hz == 44_100
    audio, times = heard(source)
    assert (audio == pcm).all()
    assert len(times) == 1, "the start of the run is the only time; the rest is the index"


@pytest.mark.parametrize("channel", [0, 3, 6])
def test_the_channel_of_seven_is_the_one_asked_for(tmp_path, channel):
    pcm = noise(5_000, channels=7)
    audio, _ = heard(open_file(write_wav(tmp_path / "seven.wav", pcm), channel=channel))
    assert (audio == pcm[:, channel]).all()


@pytest.mark.parametrize(
    ("codec", "layout", "name", "dtype"),
    [
        ("flac", "stereo", "a.flac", "s16"),
        ("pcm_f32le", "stereo", "a.wav", "flt"),
        ("pcm_u8", "mono", "b.wav", "u8"),
        ("pcm_s32le", "mono", "c.wav", "s32"),
        ("pcm_f64le", "mono", "d.wav", "dbl"),
        ("alac", "stereo", "a.m4a", "s16p"),
    ],
)
def test_every_sample_format_gives_the_same_audio(tmp_path, codec, layout, name, dtype):
    tone = np.sin(2 * np.pi * 440 * np.arange(8_192) / 16_000) / 2
    channels = [tone, -tone][: 2 if layout == "stereo" else 1]
    scale = {"s16": 2**15, "s16p": 2**15, "s32": 2**31, "u8": 128}.get(dtype, 1)
    kind = {"s16": "i2", "s16p": "i2", "s32": "i4", "u8": "u1", "flt": "f4", "dbl": "f8"}[dtype]
    data = np.array(channels) * scale + (128 if dtype == "u8" else 0)
    data = data.astype(kind) if dtype.endswith("p") else data.T.reshape(1, -1).astype(kind)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=16_000, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=dtype, layout=layout)
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    audio, _ = heard(open_file(tmp_path / name))
    audio = audio / 32_768 if audio.dtype == np.int16 else audio
    assert np.abs(audio[:8_192] - tone).max() < (0.01 if dtype == "u8" else 1e-4)


def test_a_loop_has_no_seam(tmp_path):
    pcm = noise(1_000)
    audio, times = heard(open_file(write_wav(tmp_path / "a.wav", pcm), loop=True), at_most=3_500)
    assert (audio[:3_500] == np.tile(pcm, 4)[:3_500]).all()
    assert len(times) == 1


class SteppedClock:
    """A clock that stands still but for waits, each of which takes a little longer than it should."""

    def __init__(self):
        self.now_s = 50.0
        self.waits = []

    def now(self):
        return self.now_s

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now_s += seconds + 0.003


def test_a_realtime_file_is_paced_without_drift(tmp_path):
    path, clock = write_wav(tmp_path / "a.wav", noise(160_000)), SteppedClock()
    pacer = Pacer(16_000, NEVER, now=clock.now, wait=clock.wait)
    source = SoundFile(FileSource(path=path), block_s=0.02, stop=NEVER, pacer=pacer)
    n = 0
    for chunk in source.chunks():
        n += len(chunk.audio)
        assert len(chunk.audio) <= 320
        assert 50.0 + n / 16_000 <= clock.now_s + 1e-9, "heard before it could have been"
        assert clock.now_s - (50.0 + n / 16_000) < 0.004, "waits that take too long do not add up"
    source.close()
    assert n == 160_000


def test_a_stop_ends_the_pacers_wait():
    stop = threading.Event()
    pacer = Pacer(16_000, stop)
    pacer.wait_for(0)
    waiter = threading.Thread(target=pacer.wait_for, args=(16_000 * 3_600,))
    waiter.start()
    stop.set()
    waiter.join(DEADLINE_S)
    assert not waiter.is_alive()


def test_silence_is_silent_and_paced():
    clock = SteppedClock()
    pacer = Pacer(16_000, NEVER, now=clock.now, wait=clock.wait)
    audio, times = heard(Silence(SilenceSource(), block_s=0.02, stop=NEVER, pacer=pacer), at_most=3_200)
    assert not audio.any()
    assert len(times) == 10
    assert clock.now_s == pytest.approx(50.2, abs=0.004)


# What cannot be heard.


def bad(path, match, **settings):
    with pytest.raises(SourceError, match=match):
        open_file(path, **settings)


def test_missing_file(tmp_path):
    bad(tmp_path / "none.wav", r"none\.wav: expected a sound file, got nothing there; check the path")


def test_a_folder(tmp_path):
    bad(tmp_path, "got a folder there")


@pytest.mark.parametrize("left", [3, 20, 44])
def test_a_wav_that_ends_in_its_header(tmp_path, left):
    whole = write_wav(tmp_path / "a.wav", noise(16_000)).read_bytes()
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole[:left])
    bad(cut, r"cut\.wav: expected")


@pytest.mark.parametrize("left", [46, 1_000, 31_999 + 44])
def test_a_truncated_wav_is_heard_and_says_how_much_is_missing(tmp_path, left):
    pcm = noise(16_000)
    cut = tmp_path / "cut.wav"
    cut.write_bytes(write_wav(tmp_path / "a.wav", pcm).read_bytes()[:left])
    source = open_file(cut)
    *_, audio, notice = source.chunks()
    source.close()
    assert (audio.audio == pcm[: (left - 44) // 2][-len(audio.audio) :]).all()
    assert notice.kind == "cut_off"
    assert f"expected 32000 bytes of audio as its header says, got {left - 44}; the file is cut off" in notice.problem


def test_empty_wav(tmp_path):
    bad(write_wav(tmp_path / "a.wav", noise(0)), "expected audio")


def test_zero_hertz(tmp_path):
    whole = bytearray(write_wav(tmp_path / "a.wav", noise(100)).read_bytes())
    whole[24:28] = struct.pack("<I", 0)
    (tmp_path / "zero.wav").write_bytes(whole)
    bad(tmp_path / "zero.wav", "expected a sample rate in its header, got 0 Hz")


@pytest.mark.parametrize("rate_hz", [1, 999, 1_000_001, 2**31 - 1])
def test_a_rate_that_nobody_records_at(tmp_path, rate_hz):
    """At 1 Hz every sample would become 16,000."""
    whole = bytearray(write_wav(tmp_path / "a.wav", noise(100)).read_bytes())
    whole[24:28] = struct.pack("<I", rate_hz)
    (tmp_path / "odd.wav").write_bytes(whole)
    bad(tmp_path / "odd.wav", f"expected a sample rate of 1000 to 1000000 Hz, got {rate_hz} Hz; repair the header")


def test_a_codec_that_nobody_knows(tmp_path):
    whole = bytearray(write_wav(tmp_path / "a.wav", noise(100)).read_bytes())
    whole[20:22] = struct.pack("<H", 0xBB80)
    (tmp_path / "odd.wav").write_bytes(whole)
    bad(tmp_path / "odd.wav", "got a codec that FFmpeg does not know; convert the file")


def test_samples_of_64_bits(tmp_path):
    whole = bytearray(write_wav(tmp_path / "a.wav", noise(100)).read_bytes())
    whole[28:36] = struct.pack("<IHH", 8 * 16_000, 8, 64)
    (tmp_path / "wide.wav").write_bytes(whole)
    bad(tmp_path / "wide.wav", "expected samples of 8 to 32 bits or floats, got s64; convert the file")


def test_a_wav_that_was_piped_has_no_length_and_is_heard(tmp_path):
    pcm = noise(5_000)
    whole = bytearray(write_wav(tmp_path / "a.wav", pcm).read_bytes())
    whole[40:44] = whole[4:8] = struct.pack("<I", 0xFFFF_FFFF)
    (tmp_path / "piped.wav").write_bytes(whole)
    audio, _ = heard(open_file(tmp_path / "piped.wav"))
    assert (audio == pcm).all()


def test_a_title_in_latin_1(tmp_path):
    whole = write_wav(tmp_path / "a.wav", noise(5_000)).read_bytes()
    title = b"INFOINAM" + struct.pack("<I", 6) + "Café".encode("latin-1") + bytes(2)
    tagged = whole[:12] + b"LIST" + struct.pack("<I", len(title)) + title + whole[12:]
    (tmp_path / "b.wav").write_bytes(tagged[:4] + struct.pack("<I", len(tagged) - 8) + tagged[8:])
    audio, _ = heard(open_file(tmp_path / "b.wav"))
    assert (audio == noise(5_000)).all()


def test_no_audio_at_all(tmp_path):
    (tmp_path / "notes.mp3").write_text("not a sound\n" * 100)
    bad(tmp_path / "notes.mp3", "expected")


def test_pictures_only(tmp_path):
    with av.open(str(tmp_path / "silent.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    bad(tmp_path / "silent.mp4", "expected an audio stream, got video only")


def test_a_channel_that_is_not_there(tmp_path):
    path = write_wav(tmp_path / "a.wav", noise(100, channels=2))
    bad(path, r"expected a channel below 2 \(they count from 0\), got channel 2; set channel", channel=2)


# Standard input.


def test_stdin_puts_frames_together_however_they_come():
    pcm = noise(2_000, channels=3)
    reader, writer = os.pipe()
    source = Stdin(StdinSource(channels=3, channel=1, input_rate_hz=8_000), descriptor=reader)
    data = pcm.astype("<i2").tobytes() + b"\0"

    def write():
        for start in range(0, len(data), 1_001):
            os.write(writer, data[start : start + 1_001])
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    audio, times = heard(source)
    thread.join(DEADLINE_S)
    os.close(reader)
    assert (audio == pcm[:, 1]).all()
    assert len(times) == 1


def test_stdin_with_a_silent_channel_and_a_mix():
    pcm = np.stack([np.zeros(2_000, np.int16), np.full(2_000, 100, np.int16)], axis=1)
    pcm[1_000:, 1] = 300
    items = {}
    for channel in (0, "mix"):
        reader, writer = os.pipe()
        os.write(writer, pcm.astype("<i2").tobytes())
        os.close(writer)
        items[channel] = list(Stdin(StdinSource(channels=2, channel=channel), descriptor=reader).chunks())
        os.close(reader)
    *_, notice = items[0]
    assert "stdin: channel 0 is digital silence, channel 1 is not" in notice.problem
    mixed = np.concatenate([chunk.audio for chunk in items["mix"]])
    assert np.allclose(mixed * 32_768, pcm.mean(axis=1))


def test_stdin_goes_on_inside_a_frame_where_a_reload_opens_it_again(monkeypatch):
    """Else its channels would be swapped from then on."""
    reader, writer = os.pipe()
    monkeypatch.setattr("streamer.sources.stdin._standard_input", lambda: reader)
    config = StdinSource(channels=3)
    frames = np.tile(np.array([100, 200, 300], "<i2"), (5, 1)).tobytes()
    os.write(writer, frames[:10])
    first = Stdin(config).chunks()
    assert next(first).audio.tolist() == [100]
    first.close()
    os.write(writer, frames[10:])
    os.close(writer)
    audio, _ = heard(Stdin(config))
    assert audio.tolist() == [100] * 4
    os.close(reader)


def test_a_loop_goes_on_where_the_file_has_another_rate(tmp_path):
    source = open_file(write_wav(tmp_path / "a.wav", noise(4000)), loop=True)
    write_wav(tmp_path / "b.wav", noise(4000, seed=1), 48_000).replace(tmp_path / "a.wav")
    items = list(itertools.islice(source.chunks(), 12))
    source.close()
    place = items.index(NewRate(48_000))
    assert sum(len(chunk.audio) for chunk in items[:place]) == 4_000
    assert (items[place + 1].audio == noise(4000, seed=1)[: len(items[place + 1].audio)]).all()


def test_stdin_without_anything_says_so():
    reader, writer = os.pipe()
    chunk = next(iter(Stdin(StdinSource(), descriptor=reader).chunks()))
    os.close(reader)
    os.close(writer)
    assert len(chunk.audio) == 0


def test_stdin_that_is_closed():
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(SourceError, match="stdin: expected PCM"):
        next(iter(Stdin(StdinSource(), descriptor=reader).chunks()))


def test_stdin_that_is_a_terminal(monkeypatch):
    leader, follower = os.openpty()
    with os.fdopen(follower) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        with pytest.raises(SourceError, match="got a terminal"):
            open_source(StdinSource(), block_s=0.02, stop=NEVER)
    os.close(leader)
