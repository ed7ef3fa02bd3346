"""Samples: which channel, what is no number, and what is on another scale."""

import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from streamer.config import MicrophoneSource, StdinSource
from streamer.sources.channels import ChannelPicker
from streamer.sources.file import read_pcm
from tests.streamer.test_faulty_files import heard
from tests.streamer.test_sources import write_wav
from tests.support.recordings import pips

RATE_HZ = 48_000


def float_wav(path, samples, rate_hz=RATE_HZ):
    """float32 ``[n]``."""
    form = struct.pack("<HHIIHH", 3, 1, rate_hz, rate_hz * 4, 4, 32)
    return riff(path, form, samples.astype("<f4").tobytes())


def riff(path, form, data):
    chunks = b"".join(name + struct.pack("<I", len(body)) + body for name, body in ((b"fmt ", form), (b"data", data)))
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_one_sample_that_is_no_number_spoils_no_other(tmp_path, value):
    samples = pips(2.0, [1.0]).astype(np.float32) / 32_768
    mended = samples.copy()
    at = 30_000
    samples[at], mended[at] = value, 4.0 if value == 3e38 else 0.0
    pcm = np.concatenate(list(read_pcm(float_wav(tmp_path / "a.wav", samples), 16_000)))
    expected = np.concatenate(list(read_pcm(float_wav(tmp_path / "b.wav", mended), 16_000)))
    assert (pcm == expected).all()


def test_samples_that_are_no_numbers_are_counted(tmp_path):
    samples = pips(2.0, [1.0]).astype(np.float32) / 32_768
    samples[[3, 1_000, 90_000]] = np.nan
    _, _, notices = heard(float_wav(tmp_path / "a.wav", samples))
    (notice,) = notices["samples"]
    assert notice.count == 3
    assert not notice.is_loss


def test_float_audio_on_the_scale_of_16_bits_is_named(tmp_path):
    _, _, notices = heard(float_wav(tmp_path / "a.wav", pips(2.0, [1.0]).astype(np.float32)))
    (notice,) = notices["samples"]
    assert "got values up to" in notice.problem
    assert "divide by 32768" in notice.problem


def test_a_float_file_that_goes_a_little_beyond_1_is_nobodys_business(tmp_path):
    samples = 2.5 * pips(2.0, [1.0]).astype(np.float32) / 32_768
    assert not heard(float_wav(tmp_path / "a.wav", samples))[2]


def test_a_rate_below_the_models_is_named(tmp_path):
    _, _, notices = heard(write_wav(tmp_path / "a.wav", pips(2.0, [1.0], 8_000), 8_000))
    (notice,) = notices["bandwidth"]
    assert "got 8000 Hz: sound above 4000 Hz is not heard" in notice.problem


@pytest.mark.parametrize(
    ("stored_bits", "valid_bits", "shift"), [(32, 24, 16), (32, 20, 16), (32, 16, 16), (32, 0, 16), (16, 12, 0)]
)
def test_fewer_valid_bits_than_are_stored_are_read_as_they_are_stored(tmp_path, stored_bits, valid_bits, shift):
    pcm = pips(2.0, [1.0])
    pcm -= pcm % 16
    data = (pcm.astype(f"<i{stored_bits // 8}") << shift).astype(f"<i{stored_bits // 8}").tobytes()
    frame = stored_bits // 8
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE_HZ, RATE_HZ * frame, frame, stored_bits, 22, valid_bits, 4)
    path = riff(tmp_path / "a.wav", form + bytes.fromhex("0100000000001000800000aa00389b71"), data)
    expected = soundfile.read(path, dtype="int16")[0]
    assert (np.concatenate(list(read_pcm(path, RATE_HZ))) == expected).all()
    assert (expected == pcm).all()


# Channels.


def stereo(left, right):
    return np.stack([left, right], axis=1)


def test_a_silent_channel_beside_one_that_is_not_is_named(tmp_path):
    pcm = pips(2.0, [1.0])
    path = write_wav(tmp_path / "a.wav", stereo(np.zeros_like(pcm), pcm), RATE_HZ)
    found, _, notices = heard(path)
    assert not found
    (notice,) = notices["silent_channel"]
    assert "channel 0 is digital silence, channel 1 is not; set channel: 1 or channel: mix" in notice.problem
    assert heard(path, channel=1)[::2] == ([1.0], {})
    found, _, notices = heard(path, channel="mix")
    assert (found, notices) == ([1.0], {})


@pytest.mark.parametrize("quiet", [1, 3])
def test_a_channel_that_is_quiet_or_silent_with_all_others_is_not_named(tmp_path, quiet):
    pcm = pips(2.0, [1.0])
    faint = (np.arange(len(pcm)) // 7 % 2 * quiet * 2).astype(np.int16)
    assert not heard(write_wav(tmp_path / "a.wav", stereo(faint, pcm), RATE_HZ))[2]
    assert not heard(write_wav(tmp_path / "b.wav", stereo(pcm * 0, pcm * 0), RATE_HZ))[2]


@given(st.integers(1, 8), st.integers(1, 50), st.integers(0, 2**32), st.sampled_from(["<i2", "u1", "<i4", "<f4"]))
def test_a_mix_is_the_mean(n_channels, n, seed, dtype):
    offset, scale = {"<i2": (0, 2**15), "u1": (128, 128), "<i4": (0, 2**31), "<f4": (0, 1)}[dtype]
    samples = (np.random.default_rng(seed).uniform(-0.99, 0.99, (n_channels, n)) * scale + offset).astype(dtype)
    mixed = ChannelPicker("mix", "a").pick(samples)
    mixed = mixed / 32_768 if mixed.dtype == np.int16 else mixed
    expected = (samples.astype(np.float64) - offset).mean(axis=0) / scale
    assert np.abs(mixed - expected).max() < 1e-5


def test_fewer_channels_in_the_middle_take_the_nearest():
    picker = ChannelPicker(2, "a")
    assert picker.pick(np.arange(6, dtype=np.int16).reshape(3, 2)).tolist() == [4, 5]
    assert picker.pick(np.array([[7, 8]], np.int16)).tolist() == [7, 8]


@pytest.mark.parametrize("section", [MicrophoneSource, StdinSource])
def test_every_source_can_mix(section):
    assert section(channel="mix").channel == "mix"
