"""Sound files of many formats for tests, written with FFmpeg."""

import shutil
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE_HZ = 48_000
CODECS = {
    "wav": "pcm_s16le",
    "w64": "pcm_s16le",
    "aiff": "pcm_s16be",
    "caf": "pcm_s16be",
    "au": "pcm_s16be",
    "flac": "flac",
    "mp3": "mp3",
    "m4a": "aac",
    "mp4": "aac",
    "aac": "aac",
    "ts": "aac",
    "ogg": "vorbis",
    "opus": "libopus",
    "mka": "vorbis",
    "webm": "libopus",
}
"""The codec of each format, by a file's suffix."""
_FORMATS = {"aac": "adts", "ts": "mpegts", "m4a": "ipod", "mka": "matroska"}
_FRAME = 960


def pips(duration_s: float, at_s: list[float], rate_hz: int = RATE_HZ, pip_s: float = 0.1) -> NDArray[np.int16]:
    """Pips of 1 kHz that begin at ``at_s`` over faint noise, int16 ``[n]``."""
    audio = np.random.default_rng(1).normal(0, 20, round(duration_s * rate_hz))
    tone = 16_000 * np.sin(2 * np.pi * 1_000 * np.arange(round(pip_s * rate_hz)) / rate_hz)
    for start_s in at_s:
        start = round(start_s * rate_hz)
        audio[start : start + len(tone)] += tone[: max(0, len(audio) - start)]
    return audio.astype(np.int16)


def found_pips(pcm: NDArray[np.int16], rate_hz: int) -> list[float]:
    """When pips begin, in seconds."""
    block = rate_hz // 200
    loud = np.abs(pcm[: len(pcm) // block * block].reshape(-1, block).astype(np.int32)).max(axis=1) > 4_000
    edges = np.flatnonzero(np.diff(loud.astype(np.int8), prepend=0) == 1)
    starts = [float(edge) * block / rate_hz for edge in edges]
    return [start for place, start in enumerate(starts) if place == 0 or start - starts[place - 1] > 0.15]


def encoded(
    suffix: str,
    pcm: NDArray[np.int16],
    *,
    rate_hz: int = RATE_HZ,
    codec: str | None = None,
    options: dict[str, str] | None = None,
    leave_out_s: tuple[float, float] | None = None,
) -> bytes:
    """A sound file.

    Args:
        suffix: Of its format, a key of `CODECS`.
        pcm: int16 ``[n]`` or ``[n, channels]``.
        rate_hz: Of ``pcm``.
        codec: Another one than the format's.
        options: The muxer's.
        leave_out_s: Packets between these times are left out, as a recorder does that lost a fragment.
    """
    frames = pcm.reshape(len(pcm), -1)
    written = Path(tempfile.mkdtemp()) / "sound"
    with av.open(str(written), "w", format=_FORMATS.get(suffix, suffix), options=options or {}) as container:
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[frames.shape[1]]
        stream = _add_stream(container, codec or CODECS[suffix], rate_hz, layout)
        stream.time_base = Fraction(1, rate_hz)
        resampler = av.AudioResampler(
            format=stream.format, layout=stream.layout, rate=rate_hz, frame_size=stream.frame_size
        )
        for start in range(0, len(frames), _FRAME):
            block = np.ascontiguousarray(frames[start : start + _FRAME]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), start
            for ready in resampler.resample(frame):
                _mux(container, stream.encode(ready), leave_out_s)
        for ready in resampler.resample(None):
            _mux(container, stream.encode(ready), leave_out_s)
        _mux(container, stream.encode(None), leave_out_s)
    data = written.read_bytes()
    shutil.rmtree(written.parent)
    return data


def _add_stream(container, codec: str, rate_hz: int, layout: str):
    """FFmpeg's own Vorbis encoder is an experiment, and knows two channels only."""
    is_vorbis = codec == "vorbis"
    options = {"strict": "experimental"} if is_vorbis else {}
    return container.add_stream(codec, rate=rate_hz, layout="stereo" if is_vorbis else layout, options=options)


def _mux(container, packets, leave_out_s) -> None:
    for packet in packets:
        at_s = 0.0 if packet.pts is None else float(packet.pts * packet.time_base)
        if leave_out_s is None or not leave_out_s[0] <= at_s < leave_out_s[1]:
            container.mux(packet)


def write_recording(path: Path, pcm: NDArray[np.int16], **options) -> Path:
    """As `encoded`, into a file whose suffix says its format."""
    path.write_bytes(encoded(path.suffix.removeprefix("."), pcm, **options))
    return path


def damaged(data: bytes, at: float, n_bytes: int, seed: int = 3) -> bytes:
    """``data`` with noise over ``n_bytes`` from a share ``at`` of it."""
    start = round(at * len(data))
    noise = np.random.default_rng(seed).integers(0, 256, n_bytes, dtype=np.uint8).tobytes()
    return data[:start] + noise + data[start + n_bytes :]
