"""Files that are damaged, cut off, or change in the middle: what is there is analysed, where it belongs."""

import re

import numpy as np
import pytest

from earmark.contracts.errors import SourceError
from streamer.sources.file import read_pcm
from tests.streamer.test_sources import write_wav
from tests.support.recordings import CODECS, damaged, encoded, found_pips, pips

AT_S = [1.0, 4.0, 7.0]
SAMPLE_RATE_HZ = 16_000
FASTSTART = {"movflags": "faststart"}
"""An MP4's table before its packets."""


def heard(path, **options):
    """A file's pips, how long it is, and what was noticed, by kind."""
    notices = {}
    pieces = list(
        read_pcm(
            path, SAMPLE_RATE_HZ, on_notice=lambda notice: notices.setdefault(notice.kind, []).append(notice), **options
        )
    )
    pcm = np.concatenate(pieces)
    return found_pips(pcm, SAMPLE_RATE_HZ), len(pcm) / SAMPLE_RATE_HZ, notices


def heard_bytes(tmp_path, suffix, data, **options):
    path = tmp_path / f"sound.{suffix}"
    path.write_bytes(data)
    return heard(path, **options)


@pytest.mark.parametrize("suffix", CODECS)
def test_a_whole_file_of_any_format_is_heard_whole_and_without_a_word(tmp_path, suffix):
    found, length_s, notices = heard_bytes(tmp_path, suffix, encoded(suffix, pips(9.0, AT_S)))
    assert found == pytest.approx(AT_S, abs=0.03)
    assert length_s == pytest.approx(9.0, abs=0.06)
    assert not notices


# Damaged packets.


@pytest.mark.parametrize(
    ("suffix", "lost"),
    [("aac", []), ("mp3", []), ("flac", []), ("ogg", []), ("opus", []), ("m4a", []), ("mka", [4.0]), ("ts", [])],
)
def test_a_damaged_packet_costs_that_packet(tmp_path, suffix, lost):
    """Ogg loses a page, which may hold a second, and Matroska a cluster of five."""
    data = damaged(encoded(suffix, pips(9.0, AT_S), options=FASTSTART if suffix == "m4a" else None), 0.25, 600)
    found, length_s, notices = heard_bytes(tmp_path, suffix, data)
    assert all(min(abs(start_s - at_s) for start_s in found) < 0.1 for at_s in AT_S if at_s not in lost)
    assert length_s == pytest.approx(9.0, abs=0.15)
    assert notices.keys() <= {"damaged", "hole"}
    assert suffix == "ts" or str(tmp_path) in next(iter(notices.values()))[0].problem


@pytest.mark.parametrize("suffix", ["mp3", "aac"])
def test_many_damaged_bytes_are_silence_of_their_length(tmp_path, suffix):
    """A second's packets are as large as another's here, as they are on average."""
    pcm = pips(9.0, AT_S)
    pcm += np.random.default_rng(2).integers(-2_000, 2_000, len(pcm)).astype(np.int16)
    whole = encoded(suffix, pcm)
    found, length_s, notices = heard_bytes(tmp_path, suffix, damaged(whole, 0.2, len(whole) // 5))
    assert all(min(abs(start_s - at_s) for start_s in found) < 0.15 for at_s in (1.0, 4.0, 7.0))
    assert length_s == pytest.approx(9.0, abs=0.1)
    assert "damaged" in notices


def test_a_file_of_which_no_packet_can_be_decoded_is_an_error(tmp_path):
    whole = encoded("m4a", pips(2.0, [1.0]), options=FASTSTART)
    begin = whole.index(b"mdat") + 4
    path = tmp_path / "noise.m4a"
    path.write_bytes(whole[:begin] + bytes([255]) * (len(whole) - begin))
    with pytest.raises(SourceError, match=r"expected audio, got \d+ packets that cannot be decoded"):
        list(read_pcm(path, SAMPLE_RATE_HZ))


# A format that changes.


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("ogg", 48_000, 2, None), ("ogg", 22_050, 2, None)),
        (("opus", 48_000, 1, None), ("opus", 48_000, 2, None)),
        (("ogg", 48_000, 1, "flac"), ("ogg", 44_100, 2, "flac")),
        (("ogg", 48_000, 2, None), ("opus", 48_000, 1, None)),
        (("mp3", 48_000, 1, None), ("mp3", 44_100, 1, None)),
        (("mp3", 48_000, 1, None), ("mp3", 22_050, 2, None)),
        (("aac", 48_000, 1, None), ("aac", 44_100, 2, None)),
        (("ts", 48_000, 1, None), ("ts", 44_100, 2, None)),
        (("ts", 48_000, 1, "mp2"), ("ts", 44_100, 2, "aac")),
    ],
    ids=lambda part: "-".join(map(str, part)),
)
def test_the_format_may_change_in_the_middle(tmp_path, first, second):
    data = b""
    for suffix, rate_hz, n_channels, codec in (first, second):
        pcm = pips(5.0, [1.0, 4.0], rate_hz)
        data += encoded(suffix, np.stack([pcm] * n_channels, axis=1), rate_hz=rate_hz, codec=codec)
    found, length_s, notices = heard_bytes(tmp_path, first[0], data)
    assert found == pytest.approx([1.0, 4.0, 6.0, 9.0], abs=0.1)
    assert length_s == pytest.approx(10.0, abs=0.15)
    assert notices.keys() == {"format"}


# Files that are cut off.


def unfinished_wav(tmp_path):
    """As a recorder leaves it that lost its power: the header says that nothing follows."""
    whole = bytearray(write_wav(tmp_path / "whole.wav", pips(9.0, AT_S), 48_000).read_bytes())
    whole[4:8] = whole[40:44] = bytes(4)
    return bytes(whole)


@pytest.mark.parametrize("suffix", [*CODECS, "rf64", "mp3 without contents", "fragments"])
@pytest.mark.parametrize("share", [0.74, "one byte"])
def test_of_a_file_that_is_cut_off_the_rest_is_heard_and_one_line_says_so(tmp_path, suffix, share):
    options = {
        "m4a": ("m4a", FASTSTART),
        "mp4": ("mp4", FASTSTART),
        "rf64": ("wav", {"rf64": "always"}),
        "mp3 without contents": ("mp3", {"write_xing": "0"}),
        "fragments": ("mp4", {"movflags": "empty_moov+default_base_moof", "frag_duration": "500000"}),
    }
    suffix, option = options.get(suffix, (suffix, None))
    whole = encoded(suffix, pips(9.0, AT_S), options=option)
    if suffix == "ts":
        pytest.skip("a transport stream has no end")
    n_bytes = len(whole) - 1 if share == "one byte" else round(share * len(whole))
    found, length_s, notices = heard_bytes(tmp_path, suffix, whole[:n_bytes])
    assert found == pytest.approx(AT_S if share == "one byte" else AT_S[:2], abs=0.1)
    assert notices.keys() == {"cut_off"}
    (notice,) = notices["cut_off"]
    assert notice.is_loss
    (said_s,) = re.findall(r"its first ([\d.]+) s are analysed", notice.problem)
    assert float(said_s) == pytest.approx(length_s, abs=0.01)


def test_a_recording_that_was_never_closed_is_heard(tmp_path):
    found, length_s, notices = heard_bytes(tmp_path, "wav", unfinished_wav(tmp_path))
    assert (found, length_s) == (pytest.approx(AT_S, abs=0.03), pytest.approx(9.0, abs=0.01))
    assert "the recording was not closed" in notices["cut_off"][0].problem


def test_an_mp4_without_its_end_says_that_it_is_cut_off(tmp_path):
    path = tmp_path / "cut.m4a"
    path.write_bytes(encoded("m4a", pips(9.0, AT_S))[:20_000])
    with pytest.raises(SourceError, match=r"expected audio that FFmpeg can open.*expected \d+ bytes of audio.*cut off"):
        list(read_pcm(path, SAMPLE_RATE_HZ))


def test_titles_at_the_end_of_an_mp3_are_no_damage(tmp_path):
    tags = b"APETAGEX" + bytes(200) + b"TAG" + bytes(125)
    found, _, notices = heard_bytes(tmp_path, "mp3", encoded("mp3", pips(9.0, AT_S)) + tags)
    assert found == pytest.approx(AT_S, abs=0.03)
    assert not notices
