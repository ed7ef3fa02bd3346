"""The microphone's parts that need no device; `tests/system` listens to a real one."""

import itertools
import sys
import threading
from unittest.mock import Mock

import numpy as np
import pytest

from earmark.contracts.errors import SourceError
from streamer.config import MicrophoneSource
from streamer.sources import Chunk, Notice, list_devices, open_source
from streamer.sources.microphone import InputDevice, Microphone, _find, _Mailbox

DEVICES = [
    InputDevice(0, "Front Mic", 2, 44_100, is_default=False),
    InputDevice(4, "USB Mic", 1, 48_000, is_default=True),
]


def block(n=320):
    return np.ones(n, np.int16).tobytes()


def test_what_does_not_fit_is_counted_exactly():
    mailbox = _Mailbox(16_000, size=2)
    for _ in range(5):
        mailbox.callback(block(), 320, {}, 0)
    assert [mailbox.queue.get_nowait().lost_before for _ in range(2)] == [0, 0]
    mailbox.callback(block(), 320, {}, 0)
    mailbox.callback(block(), 320, {}, 0)
    first, second = mailbox.queue.get_nowait(), mailbox.queue.get_nowait()
    assert (first.lost_before, first.estimated) == (3 * 320, False)
    assert second.lost_before == 0


def test_what_the_device_lost_is_estimated(monkeypatch):
    now_s = iter([10.0, 10.5])
    monkeypatch.setattr("streamer.sources.microphone.time.monotonic", lambda: next(now_s))
    mailbox = _Mailbox(16_000, size=9)
    mailbox.callback(block(), 320, {}, 0)
    mailbox.callback(block(), 320, {}, 2)
    mailbox.queue.get_nowait()
    captured = mailbox.queue.get_nowait()
    assert (captured.lost_before, captured.estimated) == (8_000 - 320, True)


def test_devices_are_found_by_index_part_of_name_and_default():
    assert _find(0, DEVICES).index == 0
    assert _find("usb", DEVICES).index == 4
    assert _find("default", DEVICES).index == 4


@pytest.mark.parametrize("wanted", [3, "nope"])
def test_an_unknown_device_names_the_known_ones(wanted):
    with pytest.raises(SourceError, match=r"\(0: 'Front Mic', 4: 'USB Mic'\), got .*; set device"):
        _find(wanted, DEVICES)
    with pytest.raises(SourceError, match="none"):
        _find(wanted, [])


def test_without_pyaudio_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    with pytest.raises(SourceError, match=r"its extra `microphone` \(pip install '\.\[microphone\]' in a"):
        list_devices()


def test_whatever_portaudio_refuses_is_a_failure_of_the_source_and_ends_portaudio(monkeypatch):
    audio = Mock(**{"get_default_input_device_info.return_value": {"index": 0}})
    audio.get_device_count.side_effect = OSError(-9999, "Unanticipated host error")
    monkeypatch.setattr("streamer.sources.microphone._start_portaudio", lambda: audio)
    with pytest.raises(SourceError, match="expected PortAudio to list devices, got -9999, Unanticipated host error"):
        Microphone(MicrophoneSource(), block_s=0.02)
    audio.terminate.assert_called_once_with()


def test_a_device_that_fails_when_it_is_asked_or_closed_is_a_failure_of_the_source():
    source = Microphone.__new__(Microphone)
    source._config, source._audio, source._stream = MicrophoneSource(), Mock(), Mock()
    source._stream.is_active.side_effect = source._stream.close.side_effect = OSError(-9988, "Stream closed")
    with pytest.raises(SourceError, match="is it plugged in"):
        source._check_alive(0.1)
    source.close()
    source._audio.terminate.assert_called_once_with()


class Device:
    """PyAudio with one device, whose every block is ready at once: its channels, number ``loud`` of them not silent."""

    def __init__(self, n_channels, loud, blocks):
        self._info = {"index": 0, "name": "Array", "maxInputChannels": n_channels, "defaultSampleRate": 16_000.0}
        self._loud, self._blocks = loud, blocks
        self.opened_with = None
        self.get_device_count = lambda: 1
        self.get_default_input_device_info = lambda: self._info
        self.get_device_info_by_index = lambda _index: self._info
        self.terminate = self.close = lambda: None
        self.is_active = lambda: True

    def open(self, *, channels, frames_per_buffer, stream_callback, **_settings):
        self.opened_with = channels
        block = np.zeros((frames_per_buffer, channels), np.int16)
        if self._loud < channels:
            block[:, self._loud] = np.arange(frames_per_buffer)
        for _ in range(self._blocks):
            stream_callback(block.tobytes(), frames_per_buffer, {}, 0)
        return self


def taken(monkeypatch, device, **settings):
    monkeypatch.setattr("streamer.sources.microphone._start_portaudio", lambda: device)
    source = Microphone(MicrophoneSource(**settings), block_s=0.5)
    items = list(itertools.takewhile(lambda item: isinstance(item, Notice) or len(item.audio), source.chunks()))
    source.close()
    return [item for item in items if isinstance(item, Notice)], [item for item in items if isinstance(item, Chunk)]


def test_a_silent_channel_of_a_device_that_has_more_is_named_once(monkeypatch):
    monkeypatch.setattr("streamer.sources.microphone._QUEUE_S", 30.0)
    (notice,), _ = taken(monkeypatch, Device(4, loud=3, blocks=50))
    assert "channel 0 is digital silence, and the device has 3 more; set channel" in notice.problem
    assert taken(monkeypatch, Device(1, loud=9, blocks=50))[0] == []
    assert taken(monkeypatch, Device(4, loud=0, blocks=50))[0] == []


def test_a_mix_opens_all_channels(monkeypatch):
    device = Device(4, loud=3, blocks=4)
    notices, chunks = taken(monkeypatch, device, channel="mix")
    assert device.opened_with == 4
    assert not notices
    assert chunks[0].audio.max() > 0


def test_a_device_of_another_name_on_this_machine():
    pytest.importorskip("pyaudio")
    with pytest.raises(SourceError, match="expected an input device of this machine"):
        open_source(MicrophoneSource(device="no such device"), block_s=0.02, stop=threading.Event())
