"""Sound files. The first bytes are always a WAV's, so that our own checks and one decoder of FFmpeg's are tried."""

import io
import struct
import tempfile
import threading
import wave
from pathlib import Path

import numpy as np

from earmark.contracts.errors import SourceError
from streamer.config import FileSource
from streamer.sources import Chunk, Lost, SoundFile
from streamer.sources.file import read_pcm

_MAGIC = b"RIFF\xff\xff\xff\x7fWAVE"
_MOST_EXPANDED = 6_000
"""Samples that a byte may become: G.723.1 has 240 of nothing in one, Opus 5,760."""
_path = Path(tempfile.mkdtemp(prefix="earmark-fuzz-")) / "sound.wav"


def _seed(rate_hz: int, channels: int, width: int) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((channels, width, rate_hz, 0, "NONE", ""))
        file.writeframes(bytes(range(48)) * channels)
    return written.getvalue()[len(_MAGIC) :]


SEEDS = [
    _seed(16_000, 1, 2),
    _seed(48_000, 2, 3),
    _seed(8_000, 1, 1),
    b"LIST" + struct.pack("<I", 3) + b"abc\0" + _seed(44_100, 1, 4),
]


def check(data: bytes) -> None:
    _path.write_bytes(_MAGIC + data)
    try:
        source = SoundFile(FileSource(path=_path), block_s=1.0, stop=_stopped())
    except SourceError:
        return
    n_samples = 0
    try:
        for item in source.chunks():
            if isinstance(item, Chunk):
                assert item.audio.dtype in (np.int16, np.float32)
                n_samples += len(item.audio)
            elif isinstance(item, Lost):
                n_samples += item.n_samples
    except SourceError:
        return
    finally:
        source.close()
    assert n_samples <= _MOST_EXPANDED * len(data)
    _check_resampled(n_samples, source.sample_rate_hz)


def _check_resampled(n_samples: int, rate_hz: int) -> None:
    n_resampled = sum(len(pcm) for pcm in read_pcm(_path, 16_000))
    assert abs(n_resampled - n_samples * 16_000 / rate_hz) <= 1


def _stopped() -> threading.Event:
    """So that nothing is held back until it would have been heard."""
    stop = threading.Event()
    stop.set()
    return stop
