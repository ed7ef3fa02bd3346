"""The microphone's parts that need no device; `tests/system` listens to a real one."""

import sys
import threading

import numpy as np
import pytest

from earmark.contracts.errors import SourceError
from streamer.config import MicrophoneSource
from streamer.sources import list_devices, open_source
from streamer.sources.microphone import InputDevice, _find, _Mailbox

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


def test_a_device_of_another_name_on_this_machine():
    pytest.importorskip("pyaudio")
    with pytest.raises(SourceError, match="expected an input device of this machine"):
        open_source(MicrophoneSource(device="no such device"), block_s=0.02, stop=threading.Event())
