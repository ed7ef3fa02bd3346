"""The last seconds of every stream: scores, and audio where it is allowed, as engines show them.

Both come lossily and in whole frames of the model's output, so a ring has a place for each frame and the number of the
frame that lies there. A stream keeps its newest two epochs, for events that are told of after an epoch's end.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.monitor import StepAudio, StepScores
from earmark.contracts.streams import Pcm

_EPOCHS = 2
_NOTHING = -1


@dataclass(frozen=True, eq=False)
class Excerpt:
    """What is known of a stretch of a stream.

    Attributes:
        first_frame: Number of the first frame, from the start of the epoch.
        scores: float32 ``[n, C]``, NaN where they did not come.
        pcm: int16 ``[n, hop]``, 0 where it did not come.
        is_heard: bool ``[n]``, whether the frame's audio came.
        hop: Samples of a frame.
    """

    first_frame: int
    scores: NDArray[np.float32]
    pcm: NDArray[np.int16]
    is_heard: NDArray[np.bool_]
    hop: int


class Memory:
    """Filled by the monitor's thread, read by a sink's.

    Args:
        keep_s: How much of each stream.
        clock: Monotonic seconds.
    """

    def __init__(self, keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._streams: dict[str, dict[str, _Ring]] = {}

    def take_scores(self, step: StepScores) -> None:
        """Remember scores."""
        now_s = self._clock()
        with self._lock:
            for name, epoch, first_sample, scores in zip(
                step.streams, step.epochs, step.first_samples, step.scores, strict=True
            ):
                ring = self._ring(name, epoch)
                if ring is None or not ring.fits(step):
                    ring = self._begin(name, epoch, _Ring(self._keep_s, step))
                ring.put_scores(first_sample, scores)
                ring.came_s = now_s

    def take_audio(self, audio: StepAudio) -> None:
        """Remember audio, whose scores came just before."""
        with self._lock:
            if (ring := self._ring(audio.stream, audio.epoch)) is not None:
                ring.put_audio(audio.first_sample, audio.pcm)

    def _ring(self, stream: str, epoch: str) -> "_Ring | None":
        return self._streams.get(stream, {}).get(epoch)

    def _begin(self, stream: str, epoch: str, ring: "_Ring") -> "_Ring":
        epochs = self._streams.setdefault(stream, {})
        epochs.pop(epoch, None)
        epochs[epoch] = ring
        while len(epochs) > _EPOCHS:
            del epochs[next(iter(epochs))]
        return ring

    def end(self, stream: str, epoch: str) -> tuple[int, float]:
        """The sample through which scores came, and when the last did, monotonic; -1 and 0 where none did."""
        with self._lock:
            ring = self._ring(stream, epoch)
            return (_NOTHING, 0.0) if ring is None else (ring.end_sample, ring.came_s)

    def excerpt(self, stream: str, epoch: str, first_sample: int, end_sample: int) -> Excerpt | None:
        """The frames that ``[first_sample, end_sample)`` touches; None for an epoch of which nothing is known."""
        with self._lock:
            ring = self._ring(stream, epoch)
            return None if ring is None else ring.excerpt(first_sample, end_sample)

    def forget(self, silent_s: float) -> None:
        """Forget streams of which nothing came for so long."""
        until_s = self._clock() - silent_s
        with self._lock:
            for name in [n for n, epochs in self._streams.items() if all(r.came_s < until_s for r in epochs.values())]:
                del self._streams[name]


class _Ring:
    """One epoch of one stream."""

    def __init__(self, keep_s: float, step: StepScores) -> None:
        self.came_s = 0.0
        self.end_sample = 0
        self._hop, self._rate_hz, self._n_labels = step.hop, step.sample_rate_hz, step.scores.shape[2]
        self._n = math.ceil(keep_s * step.sample_rate_hz / step.hop) + 1
        self._scored = np.full(self._n, _NOTHING, np.int64)
        self._scores = np.zeros((self._n, self._n_labels), np.float16)
        self._heard = np.full(self._n, _NOTHING, np.int64)
        self._pcm: Pcm | None = None

    def fits(self, step: StepScores) -> bool:
        """Whether another model took over."""
        return (self._hop, self._rate_hz, self._n_labels) == (step.hop, step.sample_rate_hz, step.scores.shape[2])

    def put_scores(self, first_sample: int, scores: NDArray[np.float32]) -> None:
        frames = self._frames(first_sample, len(scores))
        self._scored[frames % self._n] = frames
        self._scores[frames % self._n] = scores[-self._n :]
        self.end_sample = max(self.end_sample, first_sample + len(scores) * self._hop)

    def put_audio(self, first_sample: int, pcm: Pcm) -> None:
        if self._pcm is None:
            self._pcm = np.zeros((self._n, self._hop), np.int16)
        frames = self._frames(first_sample, len(pcm) // self._hop)
        self._heard[frames % self._n] = frames
        self._pcm[frames % self._n] = pcm.reshape(-1, self._hop)[-self._n :]

    def _frames(self, first_sample: int, n_frames: int) -> NDArray[np.int64]:
        """Numbers of the frames from ``first_sample`` on, the newest that there is room for."""
        return (first_sample // self._hop + np.arange(n_frames))[-self._n :]

    def excerpt(self, first_sample: int, end_sample: int) -> Excerpt:
        first, end = max(0, first_sample // self._hop), -(-end_sample // self._hop)
        frames = np.arange(first, max(first, end))
        places = frames % self._n
        is_heard = self._heard[places] == frames
        scores = np.where((self._scored[places] == frames)[:, None], self._scores[places], np.nan).astype(np.float32)
        pcm = np.zeros((len(frames), self._hop), np.int16) if self._pcm is None else self._pcm[places]
        return Excerpt(first, scores, np.where(is_heard[:, None], pcm, np.int16(0)), is_heard, self._hop)
