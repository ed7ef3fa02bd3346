"""Digital silence in real time: a stream that is never wrong, to try the rest with."""

import threading
from collections.abc import Iterator

import numpy as np

from streamer.config import SilenceSource
from streamer.sources.source import Chunk, Lost, Pacer, captured_before_now


class Silence:
    """Nothing to hear, for ever."""

    def __init__(
        self, config: SilenceSource, *, block_s: float, stop: threading.Event, pacer: Pacer | None = None
    ) -> None:
        self.sample_rate_hz = config.sample_rate_hz
        self._block = max(1, round(block_s * self.sample_rate_hz))
        self._pacer = pacer or Pacer(self.sample_rate_hz, stop)

    def chunks(self) -> Iterator[Chunk | Lost]:
        """One block after the other."""
        n_samples = 0
        while True:
            n_samples += self._block
            self._pacer.wait_for(n_samples)
            yield Chunk(np.zeros(self._block, np.int16), captured_before_now(self._block, self.sample_rate_hz))

    def close(self) -> None:
        """Nothing to let go of."""
