"""Addresses: a real web server, RTP over a real socket, and FFmpeg at both ends."""

import http.server
import itertools
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from fractions import Fraction

import av
import numpy as np
import pytest
import structlog

from earmark.contracts.errors import SourceError
from streamer.config import UrlSource
from streamer.sources import Chunk, Lost, NewRate, Notice, open_source
from streamer.sources.decode import Decoder
from tests.streamer.test_sources import noise, write_wav
from tests.support.ports import free_address
from tests.support.recordings import damaged, encoded, found_pips, pips
from tests.support.waiting import DEADLINE_S, wait_for

NEVER = threading.Event()
RATE_HZ = 16_000
FRAME = 640
"""Samples of a frame: a picture's time at 25 Hz."""
MU_LAW = {0x84 - ((((~code & 0xF) << 3) + 0x84) << (~code >> 4 & 7)): code for code in range(128)}
"""G.711's codes of negative samples, by the sample."""


@contextmanager
def web_server(body, headers=()):
    """A real server that gives ``body`` to everyone, chunk by chunk, without an end where ``body`` has none."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            try:
                for piece in body():
                    self.wfile.write(piece)
            except OSError:
                return

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://user:secret@127.0.0.1:{server.server_port}/a.wav"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(DEADLINE_S)


class Pipe:
    """What a muxer writes and a test takes."""

    def __init__(self):
        self._written = []

    def write(self, data):
        self._written.append(bytes(data))
        return len(data)

    def take(self):
        data, self._written = b"".join(self._written), []
        return data


def camera(kind, pcm, sounds, release, *, missing_s=0.002, place=lambda k: k):
    """Pictures without an end, as bytes of a container, with ``pcm`` (over and over) where frame k ``sounds``.

    A frame without sound takes ``missing_s``, for none can be missing that had no time to be. Frame k says that it is
    frame ``place(k)``.
    """
    pipe = Pipe()
    options = {"flush_packets": "1", "max_interleave_delta": "1"}
    with av.open(pipe, "w", format=kind, options=options) as container:
        pictures = container.add_stream("mpeg2video", rate=25)
        pictures.width = pictures.height = 32
        pictures.pix_fmt = "yuv420p"
        sound = container.add_stream("pcm_s16le" if kind == "matroska" else "mp2", rate=RATE_HZ, layout="mono")
        for k in itertools.count():
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            picture.pts, picture.time_base = place(k), Fraction(1, 25)
            container.mux(pictures.encode(picture))
            if sounds(k):
                at = k * FRAME % len(pcm)
                frame = av.AudioFrame.from_ndarray(pcm[None, at : at + FRAME], format="s16", layout="mono")
                frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), place(k) * FRAME
                container.mux(sound.encode(frame))
            yield pipe.take()
            if release.wait(0.002 if sounds(k) else missing_s):
                return


def opened(url, **settings):
    stop = threading.Event()
    deadline = threading.Timer(DEADLINE_S, stop.set)
    deadline.start()
    try:
        return open_source(UrlSource(url=url, **settings), block_s=0.02, stop=stop)
    finally:
        deadline.cancel()


def take(source, enough):
    """What a source gives, up to ``enough(items)``, without the chunks that say that nothing came."""
    items, give_up_s = [], time.monotonic() + DEADLINE_S
    for item in source.chunks():
        assert time.monotonic() < give_up_s, f"{axis(items)} samples, and not what was waited for"
        if isinstance(item, Lost) or len(item.audio):
            items.append(item)
            if enough(items):
                return items
    return items


def axis(items):
    """How many samples a source's items cover, the lost ones too."""
    return sum(item.n_samples if isinstance(item, Lost) else len(item.audio) for item in items)


def free_udp_port():
    """Of an address that nothing else uses, but `free_address` itself may hold its port for UDP."""
    while True:
        port = int(free_address().rpartition(":")[2])
        with socket.socket(type=socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("url ")]


def test_an_address_is_heard_until_it_ends_which_is_a_failure(tmp_path):
    pcm = noise(40_000)
    data = write_wav(tmp_path / "a.wav", pcm).read_bytes()
    with web_server(lambda: [data]) as url:
        source = open_source(UrlSource(url=url), block_s=0.02, stop=NEVER)
        audio = []
        with pytest.raises(SourceError, match=r"user:\*\*\*@.*: expected") as failure:
            audio.extend(chunk.audio for chunk in source.chunks())
        source.close()
    assert (np.concatenate(audio) == pcm).all()
    assert "secret" not in str(failure.value)


def test_an_address_that_hangs_says_that_nothing_came_and_lets_go(tmp_path):
    data = write_wav(tmp_path / "a.wav", noise(400_000)).read_bytes()
    release = threading.Event()

    def body():
        yield data[:200_000]
        release.wait(DEADLINE_S)

    with web_server(body) as url:
        source = open_source(UrlSource(url=url), block_s=0.02, stop=NEVER)
        assert any(len(chunk.audio) == 0 for chunk in source.chunks())
        source.close()
        release.set()


def test_no_room_for_a_thread_is_a_failure_of_the_source(monkeypatch):
    """The capture goes on and tries again; other streams never notice."""

    def start(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(SourceError, match="expected a thread to read it, got: can't start new thread"):
        open_source(UrlSource(url="rtsp://127.0.0.1:1/x"), block_s=0.02, stop=NEVER)


def test_nobody_at_an_address():
    with web_server(list) as url:
        pass
    with pytest.raises(SourceError, match="expected audio that FFmpeg can open") as failure:
        open_source(UrlSource(url=url), block_s=0.02, stop=NEVER)
    assert "secret" not in str(failure.value)


def test_a_stop_ends_the_opening_of_an_address():
    release, stop = threading.Event(), threading.Event()

    def body():
        stop.set()
        release.wait(DEADLINE_S)
        yield b""

    with web_server(body) as url:
        with pytest.raises(SourceError, match="stopped while it was being opened"):
            open_source(UrlSource(url=url), block_s=0.02, stop=stop)
        release.set()


# What is missing inside a connection.


def heard_without_50_frames(container, pcm, until):
    """What a source gives of a camera that leaves out its frames 100 to 149, for at least ``until`` frames."""
    release = threading.Event()
    with web_server(lambda: camera(container, pcm, lambda k: not 100 <= k < 150, release, missing_s=0.04)) as url:
        source = opened(url)
        items = take(source, lambda items: axis(items) >= until * FRAME)
        source.close()
        release.set()
    return items


def test_audio_that_a_camera_left_out_is_lost_and_the_rest_stands_where_it_was_heard():
    pcm = noise(4_000 * FRAME)
    items = heard_without_50_frames("matroska", pcm, until=400)
    (lost,) = [item for item in items if isinstance(item, Lost)]
    assert lost == Lost(50 * FRAME, estimated=True)
    heard = [item.audio if isinstance(item, Chunk) else np.zeros(item.n_samples, np.int16) for item in items]
    expected = pcm[: 400 * FRAME].copy()
    expected[100 * FRAME : 150 * FRAME] = 0
    assert (np.concatenate(heard)[: 400 * FRAME] == expected).all()


def test_a_codec_that_holds_audio_back_and_a_clock_of_90_khz_make_no_other_hole():
    pcm = noise(4_000 * FRAME)
    items = heard_without_50_frames("mpegts", pcm, until=500)
    (lost,) = [item for item in items if isinstance(item, Lost)]
    assert lost.n_samples == pytest.approx(50 * FRAME, abs=1_152), "an MP2 frame has 1152 samples"


@pytest.mark.parametrize("kind", ["matroska", "mpegts"])
def test_a_camera_whose_clock_is_set_30_s_forth_loses_nothing(kind):
    release = threading.Event()
    leaping = lambda: camera(kind, noise(FRAME), lambda _: True, release, place=lambda k: k + 750 * (k >= 100))  # noqa: E731
    with web_server(leaping) as url:
        source = opened(url)
        items = take(source, lambda items: axis(items) >= 300 * FRAME)
        source.close()
        release.set()
    assert not [item for item in items if isinstance(item, Lost)]


def test_packets_that_the_network_lost_are_lost():
    """G.711 of 20 ms a packet; one in ten is lost by itself, which counts once it adds up, and then a whole second."""
    port, release = free_udp_port(), threading.Event()

    def send():
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            for k in itertools.count():
                if k % 10 and not 100 <= k % 200 < 150:
                    header = struct.pack(">BBHII", 0x80, 0, k % 2**16, 160 * k % 2**32, 7)
                    sender.sendto(header + bytes([k % 100]) * 160, ("127.0.0.1", port))
                if release.wait(0.02):
                    return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        source = opened(f"rtp://127.0.0.1:{port}")
        items = take(source, lambda items: axis(items) >= 300 * 160)
        source.close()
    finally:
        release.set()
        thread.join(DEADLINE_S)
    starts = itertools.accumulate((axis([item]) for item in items), initial=0)
    heard = [(at / 160, item.audio[0]) for at, item in zip(starts, items, strict=False) if isinstance(item, Chunk)]
    late = [(MU_LAW[sample] - MU_LAW[heard[0][1]] - place + 50) % 100 - 50 for place, sample in heard]
    assert min(late) > -1
    assert max(late) < 6, "less than 0.1 s may not be told yet"
    assert sum(isinstance(item, Lost) and item.n_samples >= 50 * 160 for item in items) >= 2


def test_a_camera_that_is_muted_counts_as_gone():
    pcm, release = noise(4_000 * FRAME), threading.Event()
    with web_server(lambda: camera("mpegts", pcm, lambda k: k < 100, release)) as url:
        source = opened(url, timeout_s=0.5)
        with pytest.raises(SourceError, match=r"expected audio, got none in what came for .* s; is its sound"):
            take(source, lambda _: False)
        release.set()
        source.close()


def test_a_camera_that_is_muted_from_the_start_does_not_open():
    release = threading.Event()
    with web_server(lambda: camera("matroska", noise(FRAME), lambda _: False, release)) as url:
        with pytest.raises(SourceError, match="expected audio, got none in what came for"):
            opened(url, timeout_s=0.5)
        release.set()


def test_a_camera_that_is_muted_is_let_go_at_once():
    pcm, release = noise(4_000 * FRAME), threading.Event()
    with web_server(lambda: camera("mpegts", pcm, lambda k: k < 100, release)) as url:
        source = opened(url, timeout_s=3_600.0)
        assert any(len(chunk.audio) == 0 for chunk in source.chunks()), "pictures only by now"
        assert readers()
        source.close()
        wait_for(lambda: not readers(), "the end of the reader, while pictures go on")
        release.set()


# Packets that are damaged, and formats that change.


def heard_until_the_end(data):
    """What a source gives of an address that ends after ``data``, on one connection: its pips, its items."""
    connections = itertools.count()

    def body():
        next(connections)
        yield data

    items = []
    with web_server(body) as url:
        source = opened(url)
        with pytest.raises(SourceError, match=r"expected (more audio|a source without end)"):
            items.extend(source.chunks())
        source.close()
    rate_hz, audio, starts_s, length_s = source.sample_rate_hz, [], [], 0.0
    for item in [*items, NewRate(0)]:
        if isinstance(item, NewRate):
            found = found_pips(np.concatenate(audio), rate_hz)
            starts_s += [length_s + start_s for start_s in found]
            length_s += sum(map(len, audio)) / rate_hz
            rate_hz, audio = item.sample_rate_hz, []
        elif isinstance(item, Lost):
            audio.append(np.zeros(item.n_samples, np.int16))
        elif isinstance(item, Chunk) and len(item.audio):
            audio.append(item.audio if item.audio.dtype == np.int16 else (item.audio * 32_767).astype(np.int16))
    return starts_s, items, next(connections)


@pytest.mark.parametrize("suffix", ["mp3", "aac", "flac", "ts"])
def test_a_damaged_packet_costs_that_packet_and_no_connection(suffix):
    """FFmpeg drops a frame of FLAC or of a transport stream that fails its checksum without a word."""
    data = damaged(encoded(suffix, pips(9.0, [1.0, 4.0, 7.0])), 0.25, 600)
    starts_s, items, n_connections = heard_until_the_end(data)
    assert all(min(abs(start_s - at_s) for start_s in starts_s) < 0.7 for at_s in (1.0, 4.0, 7.0))
    assert n_connections == 1
    assert suffix in {"flac", "ts"} or any(isinstance(item, Notice) and item.kind == "damaged" for item in items)


@pytest.mark.parametrize(
    ("parts", "most_connections"),
    [
        ([("ogg", 48_000, 2), ("ogg", 22_050, 2)], 2),
        ([("opus", 48_000, 1), ("opus", 48_000, 2)], 2),
        ([("mp3", 48_000, 1), ("mp3", 44_100, 1)], 1),
        ([("aac", 48_000, 1), ("aac", 44_100, 2)], 1),
    ],
    ids=["vorbis", "opus", "mp3", "aac"],
)
def test_a_radio_may_change_its_format(parts, most_connections):
    """Of a chain of Ogg the bytes are read, on a second connection that is opened at once."""
    data = b""
    for suffix, rate_hz, n_channels in parts:
        pcm = pips(5.0, [1.0, 4.0], rate_hz)
        data += encoded(suffix, np.stack([pcm] * n_channels, axis=1), rate_hz=rate_hz)
    starts_s, items, n_connections = heard_until_the_end(data)
    assert starts_s == pytest.approx([1.0, 4.0, 6.0, 9.0], abs=0.12)
    assert n_connections == most_connections
    changes = [item.sample_rate_hz for item in items if isinstance(item, NewRate)]
    assert changes == [rate_hz for _, rate_hz, _ in parts[1:] if rate_hz != parts[0][1]]
    assert [item.kind for item in items if isinstance(item, Notice)] == ["format"]


# What nobody expected.


@pytest.mark.parametrize("n_good", [0, 5])
def test_whatever_ends_the_reader_is_a_failure_of_the_source(tmp_path, monkeypatch, n_good):
    data = write_wav(tmp_path / "a.wav", noise(100_000)).read_bytes()
    left, mono = itertools.count(n_good, -1), Decoder._mono

    def no_memory(decoder, frame):
        if next(left) <= 0:
            raise MemoryError
        return mono(decoder, frame)

    monkeypatch.setattr(Decoder, "_mono", no_memory)
    with web_server(lambda: [data]) as url, structlog.testing.capture_logs() as logs:
        with pytest.raises(SourceError, match=r"user:\*\*\*@.*: expected audio, got MemoryError"):
            take(opened(url), lambda _: False)
        wait_for(lambda: not readers(), "the end of the reader")
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["source failed unexpectedly"]


def test_a_radio_whose_name_is_in_latin_1(tmp_path):
    pcm = noise(40_000)
    data = write_wav(tmp_path / "a.wav", pcm).read_bytes()
    with web_server(lambda: [data], [("icy-metaint", "80000000"), ("icy-name", "Radio Café")]) as url:
        source = opened(url)
        items = take(source, lambda items: axis(items) == len(pcm))
        source.close()
    assert (np.concatenate([item.audio for item in items]) == pcm).all()
