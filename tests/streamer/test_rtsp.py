"""A camera that speaks RTSP: GStreamer's server on one end, FFmpeg inside the streamer on the other."""

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from earmark.contracts.streams import Gap, GapReason
from streamer.config import StreamerConfig, UrlSource
from tests.streamer.fake import EngineEnd, put_together, running
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S

PYTHON = "/usr/bin/python3"
RATE_HZ = 16_000


@pytest.fixture(scope="module", autouse=True)
def gstreamer() -> None:
    wanted = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if subprocess.run([PYTHON, "-c", wanted], capture_output=True, check=False).returncode:
        assert "CI" not in os.environ, "GStreamer's RTSP server must be installed in CI"
        pytest.skip("needs gir1.2-gst-rtsp-server-1.0 and python3-gi")


class Camera:
    """Ends by kill -9, as a camera does that loses its power."""

    def __init__(self, port: str, frequency_hz: int) -> None:
        command = [PYTHON, Path(__file__).with_name("rtsp_camera.py"), port, str(frequency_hz)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self.set_up = self._process.communicate(timeout=DEADLINE_S)[0].split()


def pitch_hz(pcm: NDArray[np.int16]) -> float:
    """The loudest frequency."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(np.argmax(spectrum)) * RATE_HZ / len(pcm)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_is_heard_and_heard_again_after_it_was_away(transport: Literal["tcp", "udp"]):
    """Its outage is one gap of the same epoch; before and after it is what each camera sent."""
    address, port = free_address(), free_address().rpartition(":")[2]
    url = f"rtsp://viewer:secret@127.0.0.1:{port}/stream1"
    source = UrlSource(url=url, rtsp_transport=transport, timeout_s=1.0)
    with EngineEnd(address) as engine, ExitStack() as stack:
        with Camera(port, 1000) as camera:
            stack.enter_context(running(StreamerConfig(engines=[address], ring_s=60.0), {"yard": source}))
            records = engine.take_until(lambda taken: taken and taken[-1].end_sample > 2 * RATE_HZ)
        stack.enter_context(Camera(port, 600))
        records += engine.take_until(lambda taken: any(isinstance(record, Gap) for record in taken))
        records += engine.take_until(lambda taken: taken and sum(len(record.pcm) for record in taken) > RATE_HZ)
    pcm, gaps = put_together(records)
    assert camera.set_up
    assert {path.rpartition("/")[2] for path in camera.set_up} == {"stream=1"}, "the sound alone"
    assert len({record.epoch for record in records}) == 1
    assert {reason for _, _, reason in gaps} == {GapReason.DEVICE}
    assert all(record.estimated for record in records if isinstance(record, Gap))
    before, after = pcm[: gaps[0][0]][-RATE_HZ:], pcm[-RATE_HZ:]
    assert abs(pitch_hz(before) - 1000) < 3
    assert abs(pitch_hz(after) - 600) < 3
    assert 0.45 < np.abs(after).max() / 32768 < 0.55
