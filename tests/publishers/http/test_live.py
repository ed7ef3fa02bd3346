"""What streams sound like now: only while somebody looks, and never at anybody's cost."""

import asyncio
import dataclasses
import json
import struct

import numpy as np
import pytest
import zmq

from earmark.contracts.monitor import Frames, RefusedCandidate, StreamStatus
from earmark.outbox.monitor import MonitorSender
from publishers.http import live
from publishers.http.about import About
from tests.publishers.http.serving import http_config
from tests.support.waiting import wait_for


def frames_of(stream, first_ns=5_000_000_000, n=3):
    scores = np.linspace(0, 1, n * 2, dtype=np.float32).reshape(n, 2)
    features = np.linspace(-20, 12, n * 2 * 4, dtype=np.float32).reshape(n * 2, 4)
    return Frames(stream, "0" * 16, 80_000, first_ns, 640, 16_000, np.full(n, -30.04, np.float32), features, scores)


class Shown:
    """The engines' end of the monitor."""

    def __init__(self, outbox):
        self._context = zmq.Context()
        self.sender = MonitorSender(self._context, outbox.path)

    def wait_until_asked(self, *streams):
        wait_for(lambda: sorted(self.sender.asked()[1]) == sorted(streams))

    def close(self):
        self.sender.close()
        self._context.term()


@pytest.fixture
def shown(outbox):
    shown = Shown(outbox)
    yield shown
    shown.close()


def read(answer):
    """Messages: header, and arrays by name."""
    held = b""
    for chunk in answer.iter_raw():
        held += chunk
        while len(held) >= 4:
            (length,) = struct.unpack_from("<I", held)
            if len(held) < 4 + length:
                break
            header = json.loads(held[4 : 4 + length])
            at = 4 + length
            arrays = {}
            for name, (rows, columns) in header.get("arrays", {}).items():
                arrays[name] = np.frombuffer(held[at : at + rows * columns], np.uint8).reshape(rows, columns)
                at += rows * columns
            held = held[at:]
            yield header, arrays


def test_frames_and_statuses_come_while_somebody_looks(serve, connect, shown, tiny_bundle):
    spec = tiny_bundle.spec.model_copy(update={"delay_frames": 3})
    client = connect(serve(about=About(("gate", "yard"), tiny_bundle.identity, spec)))
    with client._http.stream("GET", "/api/v1/live", params={"stream": ["gate", "yard"]}) as answer:
        assert answer.headers["content-type"] == "application/octet-stream"
        messages = read(answer)
        assert next(messages)[0]["type"] == "statuses"
        shown.wait_until_asked("gate", "yard")
        shown.sender.send_frames(frames_of("gate"))
        header, arrays = next(m for m in messages if m[0]["type"] == "frames")
        assert (header["stream"], header["first_s"], header["hop_s"]) == ("gate", 5.0, 0.04)
        assert header["level_db"] == [-30.0] * 3
        assert header["score_delay"] == 3
        np.testing.assert_allclose(arrays["scores"] / 255, frames_of("gate").scores, atol=1 / 255)
        told = arrays["features"] / 255 * (live.HIGHEST - live.LOWEST) + live.LOWEST
        np.testing.assert_allclose(told, frames_of("gate").features.clip(live.LOWEST, live.HIGHEST), atol=0.1)
        shown.sender.send_statuses(
            [StreamStatus(stream="gate", up=True, coverage=0.5, coverage_s=180.0, level_db=-30.0, lag_s=0.0)]
        )
        told = next(m[0]["streams"] for m in messages if m[0]["type"] == "statuses" and m[0]["streams"])
        assert told == [
            {"stream": "gate", "up": True, "coverage": 0.5, "coverage_s": 180.0, "level_db": -30.0, "lag_s": 0.0}
        ]
    shown.wait_until_asked()


def test_a_stream_shows_what_its_configuration_allows(serve, connect, shown):
    about = About(("gate", "yard", "hall"), spectrograms={"gate": "none", "yard": "coarse"}, other_spectrograms="full")
    client = connect(serve(about=about))
    with client._http.stream("GET", "/api/v1/live", params={"stream": ["gate", "yard", "hall"]}) as answer:
        messages = read(answer)
        shown.wait_until_asked("gate", "yard", "hall")
        for stream in ("gate", "hall"):
            shown.sender.send_frames(frames_of(stream))
        shown.sender.send_frames(dataclasses.replace(frames_of("yard", n=13), first_sample=13 * 640))
        found = {}
        while len(found) < 3:
            header, arrays = next(m for m in messages if m[0]["type"] == "frames")
            found[header["stream"]] = header["spectrogram"], arrays["features"].shape, arrays["scores"].shape
            rows = np.unique(arrays["features"], axis=0)
            assert header["stream"] != "yard" or len(rows) == 1
    assert found == {
        "gate": ("none", (0, 0), (3, 2)),
        "yard": ("coarse", (26, 4), (13, 2)),
        "hall": ("full", (6, 4), (3, 2)),
    }


def refused_of(stream, onset_ns=5_000_000_000, label="dog"):
    until_ns = onset_ns + 2_500_000_000
    return RefusedCandidate(
        stream=stream, epoch="0" * 16, label=label, onset_ns=onset_ns, until_ns=until_ns, score=0.12345
    )


def test_what_the_judge_refuses_comes_too(serve, connect, shown):
    client = connect(serve())
    with client._http.stream("GET", "/api/v1/live", params={"stream": "gate"}) as answer:
        messages = read(answer)
        assert next(messages)[0]["type"] == "statuses"
        wait_for(lambda: shown.sender.asked().refused == ["gate"])
        shown.sender.send_refused(refused_of("yard"))
        shown.sender.send_refused(refused_of("gate"))
        header, arrays = next(m for m in messages if m[0]["type"] == "refused")
    extent = {"onset_s": 5.0, "until_s": 7.5}
    assert header == {"type": "refused", "stream": "gate", "label": "dog", "score": 0.1235, **extent}
    assert arrays == {}
    wait_for(lambda: not shown.sender.asked().refused)


def test_a_stream_is_watched_once_for_all(serve, connect, shown):
    client, reading = connect(serve()), None
    with client._http.stream("GET", "/api/v1/live?stream=gate") as one:
        with client._http.stream("GET", "/api/v1/live?stream=gate") as other:
            shown.wait_until_asked("gate")
            for answer in (one, other):
                messages = read(answer)
                assert next(messages)[0]["type"] == "statuses"
                shown.sender.send_frames(frames_of("gate"))
                assert any(header["type"] == "frames" for header, _ in messages)
                reading = reading or messages
        shown.sender.send_frames(frames_of("gate"))
        assert any(header["type"] == "frames" for header, _ in reading)


def test_who_is_slow_loses_the_oldest():
    async def run():
        client = live._Client()
        for number in range(live.MOST_MESSAGES + 5):
            client.put(bytes([number]))
        return await client.take(1.0)

    assert asyncio.run(run()) == bytes(range(5, live.MOST_MESSAGES + 5))


def test_a_busy_loop_loses_frames_and_keeps_none():
    class Monitor:
        def watch(self, _stream, take):
            self.take = take
            return lambda: None

        watch_refused = watch

    async def run():
        monitor = Monitor()
        shown = live.Live(monitor, asyncio.get_running_loop())
        client = live._Client()
        shown._enter("gate", client)
        for _ in range(2 * live.MOST_WAITING):
            monitor.take(frames_of("gate"))
        waiting = shown._n_waiting
        await asyncio.sleep(0)
        return waiting, shown._n_waiting

    assert asyncio.run(run()) == (live.MOST_WAITING, 0)


def test_so_many_streams_at_once(serve, connect):
    client = connect(serve(http_config()))
    names = [f"stream-{n}" for n in range(17)]
    answer = client.get("/api/v1/live", params={"stream": names})
    assert answer.status_code == 422
    assert "16" in answer.json()["detail"]
