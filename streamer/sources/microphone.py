"""An input device of this machine, through PortAudio. The only file that knows PyAudio, and only once it is used."""

import ctypes
import importlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog

from earmark.contracts.errors import SourceError
from streamer.config import MicrophoneSource
from streamer.sources.channels import CHECK_S, ChannelPicker
from streamer.sources.source import POLL_S, Chunk, Item, Lost, Notice, captured_before_now, nothing

if TYPE_CHECKING:
    import pyaudio

_QUEUE_S = 5.0
_STALLED_S = 3.0
"""A device without a callback for this long counts as gone."""
_INT16, _CONTINUE, _INPUT_OVERFLOW = 8, 0, 2
"""PortAudio's paInt16, paContinue and paInputOverflow."""
_portaudio = threading.RLock()
"""PortAudio may be started, asked and ended by one thread at a time."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class InputDevice:
    """What ``earmark devices`` shows of a device."""

    index: int
    name: str
    channels: int
    sample_rate_hz: int
    is_default: bool


@dataclass(slots=True)
class _Captured:
    lost_before: int
    estimated: bool
    data: bytes
    captured_at_ns: int


class _Mailbox:
    """What the callback fills and the capture thread empties. Bounded: what does not fit is counted, exactly."""

    def __init__(self, sample_rate_hz: int, size: int) -> None:
        self.queue: queue.Queue[_Captured] = queue.Queue(size)
        self._rate = sample_rate_hz
        self._lost = 0
        self._estimated = False
        self._called_at_s: float | None = None

    def callback(self, data: bytes | None, n_frames: int, _times: Mapping[str, float], status: int) -> tuple[None, int]:
        """PortAudio calls this on its own thread for every block.

        Captured means arrived: behind PulseAudio, PortAudio's own time of capture was 0.7 s early for the first second.
        """
        now_s = time.monotonic()
        if status & _INPUT_OVERFLOW and self._called_at_s is not None:
            self._estimate_lost(now_s - self._called_at_s, n_frames)
        self._called_at_s = now_s
        captured = _Captured(self._lost, self._estimated, data or b"", captured_before_now(n_frames, self._rate))
        try:
            self.queue.put_nowait(captured)
        except queue.Full:
            self._lost += n_frames
        else:
            self._lost, self._estimated = 0, False
        return None, _CONTINUE

    def _estimate_lost(self, passed_s: float, n_frames: int) -> None:
        lost = round(passed_s * self._rate) - n_frames
        if lost > 0:
            self._lost += lost
            self._estimated = True


class Microphone:
    """A device, open. Captured when PortAudio hands it over.

    PortAudio lists devices when its first user starts it: one that is plugged in while another microphone of this
    process is open is found only through a sound server (PulseAudio, PipeWire), or after the other one was closed.

    Raises:
        SourceError: PyAudio is not installed, or there is no such device, channel or rate.
    """

    def __init__(self, config: MicrophoneSource, *, block_s: float) -> None:
        self._config = config
        self._told_silence = False
        with _portaudio:
            self._audio = _start_portaudio()
            try:
                self._open(block_s)
            except BaseException as error:
                self._audio.terminate()
                if isinstance(error, OSError):
                    raise SourceError(
                        f"microphone: expected PortAudio to list devices, got {_reason(error)}"
                    ) from error
                raise

    def chunks(self) -> Iterator[Item]:
        """A block for every callback, and the count of what did not fit between them."""
        silent_since_s = time.monotonic()
        picker = ChannelPicker(self._config.channel, self._name)
        n_unchecked = 0
        while True:
            try:
                captured = self._mailbox.queue.get(timeout=POLL_S)
            except queue.Empty:
                self._check_alive(time.monotonic() - silent_since_s)
                yield nothing()
                continue
            silent_since_s = time.monotonic()
            if captured.lost_before:
                yield Lost(captured.lost_before, estimated=captured.estimated)
            frames = np.frombuffer(captured.data, np.int16).reshape(-1, self._n_channels)
            yield Chunk(picker.pick(frames.T), captured.captured_at_ns)
            n_unchecked += len(frames)
            if n_unchecked >= CHECK_S * self.sample_rate_hz:
                n_unchecked = 0
                yield from picker.notices()
                yield from self._notice_silence(picker)

    def _notice_silence(self, picker: ChannelPicker) -> Iterator[Notice]:
        """A device that was opened with fewer channels than it has may have its sound on another one."""
        if picker.is_silent and self._n_others and not self._told_silence and self._config.channel != "mix":
            self._told_silence = True
            yield Notice(
                "silent_channel",
                f"{self._name}: channel {self._config.channel} is digital silence, and the device has {self._n_others} "
                "more; set channel to another or to mix",
            )

    def close(self) -> None:
        """Close the device."""
        with _portaudio:
            try:
                self._stream.close()
            except OSError as error:
                log.warning("a microphone was not closed", problem=_reason(error))
            finally:
                self._audio.terminate()

    def _open(self, block_s: float) -> None:
        device = _find(self._config.device, _devices(self._audio))
        self._name = f"microphone {device.name!r}"
        self._n_others = device.channels - 1
        if self._config.channel != "mix" and self._config.channel >= device.channels:
            raise SourceError(
                f"microphone {device.name!r}: expected a channel below {device.channels} (they count from 0), "
                f"got channel {self._config.channel}; set channel"
            )
        self.sample_rate_hz = self._config.input_rate_hz or device.sample_rate_hz
        block = max(1, round(block_s * self.sample_rate_hz))
        self._mailbox = _Mailbox(self.sample_rate_hz, max(2, round(_QUEUE_S / block_s)))
        self._n_channels, self._stream = self._open_stream(device, block)

    def _open_stream(self, device: InputDevice, block: int) -> "tuple[int, pyaudio.Stream]":
        """Ask for no more channels than needed; some devices give only all of them."""
        problem: Exception | None = None
        channel = self._config.channel
        fewest = device.channels if channel == "mix" else channel + 1
        for n_channels in dict.fromkeys((fewest, device.channels)):
            try:
                return n_channels, self._audio.open(
                    rate=self.sample_rate_hz,
                    channels=n_channels,
                    format=_INT16,
                    input=True,
                    input_device_index=device.index,
                    frames_per_buffer=block,
                    stream_callback=self._mailbox.callback,
                )
            except (OSError, ValueError) as error:
                problem = error
        raise SourceError(
            f"microphone {device.name!r}: expected it to open at {self.sample_rate_hz} Hz, got {_reason(problem)}; "
            f"set input_rate_hz (its own is {device.sample_rate_hz}), or see whether another program holds it"
        ) from problem

    def _check_alive(self, silent_s: float) -> None:
        if silent_s >= _STALLED_S or not self._is_active():
            raise SourceError(
                f"microphone {self._config.device!r}: expected a block every few milliseconds, got none for "
                f"{silent_s:.1f} s; is it plugged in?"
            )

    def _is_active(self) -> bool:
        try:
            return self._stream.is_active()
        except OSError:
            return False


def list_devices() -> list[InputDevice]:
    """The input devices of this machine.

    Raises:
        SourceError: PyAudio is not installed.
    """
    with _portaudio:
        audio = _start_portaudio()
        try:
            return _devices(audio)
        finally:
            audio.terminate()


def _devices(audio: "pyaudio.PyAudio") -> list[InputDevice]:
    try:
        default = int(audio.get_default_input_device_info()["index"])
    except OSError:
        default = -1
    found: list[InputDevice] = []
    for index in range(audio.get_device_count()):
        info = audio.get_device_info_by_index(index)
        if channels := int(info["maxInputChannels"]):
            rate = round(float(info["defaultSampleRate"]))
            found.append(InputDevice(index, str(info["name"]), channels, rate, index == default))
    return found


def _find(wanted: int | str, devices: list[InputDevice]) -> InputDevice:
    for device in devices:
        if device.is_default if wanted == "default" else _matches(wanted, device):
            return device
    known = ", ".join(f"{device.index}: {device.name!r}" for device in devices) or "none"
    raise SourceError(
        f"microphone: expected an input device of this machine ({known}), got {wanted!r}; set device to an index, "
        "a part of a name or default"
    )


def _matches(wanted: int | str, device: InputDevice) -> bool:
    return device.index == wanted if isinstance(wanted, int) else wanted.casefold() in device.name.casefold()


def _start_portaudio() -> "pyaudio.PyAudio":
    try:
        pyaudio = importlib.import_module("pyaudio")
    except ImportError as error:
        raise SourceError(
            f"microphone: expected PyAudio, got {error}; install Earmark with its extra `microphone` "
            "(pip install '.[microphone]' in a checkout); it needs portaudio"
        ) from error
    for quieten in (_quieten_alsa, _quieten_jack):
        quieten()
    try:
        return pyaudio.PyAudio()
    except OSError as error:
        raise SourceError(f"microphone: expected PortAudio to start, got {_reason(error)}; is sound set up?") from error


def _reason(error: Exception | None) -> str:
    """PyAudio's errors hold a number, a text, or the two the other way round."""
    return ", ".join(str(part) for part in error.args) if error is not None and error.args else repr(error)


_alsa_handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
_jack_handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_deaf_alsa = _alsa_handler(lambda *_: None)
_deaf_jack = _jack_handler(lambda *_: None)


def _quieten_alsa() -> None:
    """ALSA tells stderr about every plugin that it does not find while PortAudio looks for devices."""
    _call_if_there("libasound.so.2", lambda library: library.snd_lib_error_set_handler(_deaf_alsa))


def _quieten_jack() -> None:
    _call_if_there("libjack.so.0", lambda library: library.jack_set_error_function(_deaf_jack))
    _call_if_there("libjack.so.0", lambda library: library.jack_set_info_function(_deaf_jack))


def _call_if_there(name: str, call: Callable[[ctypes.CDLL], object]) -> None:
    try:
        call(ctypes.CDLL(name))
    except (OSError, AttributeError):
        return
