"""Addresses: a real web server and FFmpeg."""

import http.server
import itertools
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import structlog

from earmark.contracts.errors import SourceError
from streamer.config import UrlSource
from streamer.sources import Lost, open_source
from streamer.sources.decode import Decoder
from tests.streamer.test_sources import noise, write_wav
from tests.support.waiting import DEADLINE_S, wait_for

NEVER = threading.Event()


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
