"""A name is a name: colons, any script and encoding, pipes; and playlists."""

import os
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from earmark.contracts.errors import SourceError
from streamer.config import FileSource, UrlSource
from streamer.sources import Chunk, open_source
from streamer.sources.file import read_pcm
from streamer.sources.playlists import entries
from tests.streamer.test_sources import heard, noise, open_file, write_wav
from tests.streamer.test_url import NEVER, axis, take, web_server
from tests.support.recordings import encoded, pips
from tests.support.waiting import DEADLINE_S

NAMES = [
    "2022-08-01-birdnet-12:34:56.wav",
    "http:x.wav",
    "concat:a|b.wav",
    "data:,.wav",
    "a%03d.wav",
    "*[x]?.wav",
    " .wav",
    "-",
    "名前.wav",
    "اسم.wav",
    "cafe\u0301.wav",
    "line\nbreak.wav",
    os.fsdecode("Café".encode("latin-1") + b".wav"),
    os.fsdecode("名".encode("shift-jis") + b".wav"),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_a_name(tmp_path, name):
    pcm = noise(5_000)
    write_wav(tmp_path / "a.wav", pcm).replace(tmp_path / name)
    audio, _ = heard(open_file(tmp_path / name))
    assert (audio == pcm).all()


def test_a_name_relative_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pcm = noise(5_000)
    write_wav(tmp_path / "a.wav", pcm).replace("12:34.wav")
    assert (heard(open_file(Path("12:34.wav")))[0] == pcm).all()


def test_a_missing_file_is_named_whatever_its_encoding(tmp_path):
    with pytest.raises(SourceError, match="expected a sound file, got nothing there"):
        open_file(tmp_path / NAMES[-1])


# Pipes.


def fed(descriptor, data):
    def write():
        with os.fdopen(descriptor, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "aac", "ts"])
def test_a_pipe_is_heard(tmp_path, suffix):
    data = encoded(suffix, pips(3.0, [1.0]))
    (tmp_path / f"a.{suffix}").write_bytes(data)
    expected = np.concatenate(list(read_pcm(tmp_path / f"a.{suffix}", 16_000)))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    thread = threading.Thread(target=lambda: fifo.write_bytes(data))
    thread.start()
    piped = np.concatenate(list(read_pcm(fifo, 16_000)))
    thread.join(DEADLINE_S)
    assert (piped[:40_000] == expected[:40_000]).all()


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_is_heard(tmp_path, monkeypatch, name):
    pcm = noise(50_000)
    reader, writer = os.pipe()
    thread = fed(writer, write_wav(tmp_path / "a.wav", pcm).read_bytes())
    if name == "/dev/stdin":
        name = f"/dev/fd/{reader}"  # what it is in a process whose standard input this is
    with os.fdopen(reader) as standard_input:
        monkeypatch.setattr("sys.stdin", standard_input)
        assert (np.concatenate(list(read_pcm(Path(name), 16_000))) == pcm).all()
    thread.join(DEADLINE_S)


def test_a_fifo_may_be_a_streams_file(tmp_path):
    pcm = noise(30_000)
    fifo, data = tmp_path / "fifo", write_wav(tmp_path / "a.wav", pcm).read_bytes()
    os.mkfifo(fifo)
    thread = threading.Thread(target=lambda: fifo.write_bytes(data))
    thread.start()
    audio, _ = heard(open_source(FileSource(path=fifo, pace="fast"), block_s=0.02, stop=NEVER))
    thread.join(DEADLINE_S)
    assert (audio == pcm).all()


# Playlists.


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"#EXTM3U\r\n#EXTINF:-1,Radio\r\nhttp://a/b\r\nc.mp3\r\n", ["http://a/b", "c.mp3"]),
        (b"\xef\xbb\xbfhttp://a/b\n", ["http://a/b"]),
        (b"[playlist]\nNumberOfEntries=1\nFile1=http://a/b?c=d\nTitle1=Radio\n", ["http://a/b?c=d"]),
        (b"[Playlist]\nfile2 = x.mp3\n", ["x.mp3"]),
        ("Café.mp3".encode("latin-1"), [os.fsdecode("Café.mp3".encode("latin-1"))]),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\na.ts\n", []),
        (b"RIFF\0\0", []),
    ],
)
def test_what_a_playlist_names(data, expected):
    assert entries(data) == expected


@pytest.mark.parametrize("suffix", ["m3u", "pls"])
def test_the_playlist_of_a_radio_is_followed(tmp_path, suffix):
    pcm = noise(40_000)
    sound = write_wav(tmp_path / "a.wav", pcm).read_bytes()
    with web_server(lambda: [sound]) as radio:
        text = f"[playlist]\nFile1={radio}\n" if suffix == "pls" else f"#EXTM3U\n#EXTINF:-1,x\n{radio}\n"
        with web_server(lambda: [text.encode()]) as listing:
            source = open_source(
                UrlSource(url=listing.replace("a.wav", f"listen.{suffix}?x=1")), block_s=0.02, stop=NEVER
            )
            items = take(source, lambda items: axis([item for item in items if isinstance(item, Chunk)]) == len(pcm))
            source.close()
    assert (np.concatenate([item.audio for item in items]) == pcm).all()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "concat:/etc/passwd", ""])
def test_a_playlist_of_the_network_leads_to_no_file_of_this_machine(target):
    expected = pytest.raises(SourceError, match=r"user:\*\*\*@.*expected a playlist that leads to a stream")
    with web_server(lambda: [f"#EXTM3U\n{target}\n".encode()]) as url, expected as failure:
        open_source(UrlSource(url=url.replace(".wav", ".m3u")), block_s=0.02, stop=NEVER)
    assert "secret" not in str(failure.value)


def test_playlists_that_lead_to_each_other_end():
    with web_server(lambda: [b"b.m3u\n"]) as url, pytest.raises(SourceError, match="got playlists of playlists"):
        open_source(UrlSource(url=url.replace(".wav", ".m3u")), block_s=0.02, stop=NEVER)


def test_a_streams_file_that_is_a_playlist_is_named_as_one(tmp_path):
    (tmp_path / "a.m3u").write_text("x.wav\n")
    with pytest.raises(
        SourceError, match=r"a\.m3u: expected a sound file, got a playlist; name .*x\.wav, for instance"
    ):
        open_file(tmp_path / "a.m3u")


def test_hls_on_this_machine_is_heard(tmp_path):
    pcm = pips(6.0, [1.0, 4.0])
    with av.open(
        str(tmp_path / "a.m3u8"), "w", format="hls", options={"hls_time": "2", "hls_list_size": "0"}
    ) as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        for start in range(0, len(pcm), 1_024):
            frame = av.AudioFrame.from_ndarray(
                pcm[None, start : start + 1_024].astype(np.float32) / 32_768, "fltp", "mono"
            )
            frame.sample_rate, frame.pts = 48_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    audio, _ = heard(open_file(tmp_path / "a.m3u8"))
    assert len(audio) == pytest.approx(len(pcm), abs=3_000)
