"""PCM from a pipe. The first two bytes choose how many channels there are, and which one is heard."""

import os

import numpy as np

from streamer.config import StdinSource
from streamer.sources import Chunk, Notice, Stdin

_PIPE_BYTES = 60_000
SEEDS = [b"\x00\x00", b"\x00\x00\x01\x00\x02\x00\xff\xff", b"\x02\x01" + bytes(range(19))]


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    channels, pcm = 1 + data[0] % 64, data[2:_PIPE_BYTES]
    channel = data[1] % channels
    reading, writing = os.pipe()
    try:
        os.write(writing, pcm)
        os.close(writing)
        source = Stdin(StdinSource(channels=channels, channel=channel), descriptor=reading)
        items = list(source.chunks())
    finally:
        os.close(reading)
    assert all(isinstance(item, Chunk | Notice) for item in items)
    chunks = [item for item in items if isinstance(item, Chunk)]
    assert all(chunk.audio.dtype == np.int16 for chunk in chunks)
    heard = np.concatenate([np.zeros(0, np.int16), *(chunk.audio for chunk in chunks)])
    n_whole = len(pcm) // (2 * channels)
    whole = np.frombuffer(pcm, "<i2", n_whole * channels).reshape(n_whole, channels)
    np.testing.assert_array_equal(heard, whole[:, channel])
