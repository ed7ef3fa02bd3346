"""The engine inside another program: feed audio, get events. No sockets, no disk."""

import os
import time
from collections.abc import Sequence

import numpy as np
import soxr
from numpy.typing import NDArray

from earmark.contracts.bundle import load_bundle
from earmark.contracts.clock import samples_to_ns
from earmark.contracts.errors import ShapeError
from earmark.contracts.events import SoundEvent
from earmark.contracts.streams import AudioBlock, Pcm, new_epoch
from earmark.contracts.wire import MAX_BLOCK_SAMPLES
from earmark.outbox import StoredStream
from engine.analyser import Analyser
from engine.runtimes import Scores
from engine.runtimes.onnxruntime import OnnxRuntime

_DEFAULT_STREAM = "default"
_RECORDING = "/scores"
"""No stream's name: `Detector.scores` hears its recording beside the caller's streams."""


class Detector:
    """Detects sound events in audio that the caller has.

    Args:
        bundle: Name of a bundle that ships, or the folder of one.
        threads: Threads of one model step.

    Raises:
        BundleError: The bundle cannot be used.

    Example:
        >>> detector = Detector()
        >>> events = detector.feed(pcm) + detector.end()
    """

    def __init__(self, bundle: str | os.PathLike[str] = "urban", *, threads: int = 1) -> None:
        self._runtime = OnnxRuntime(load_bundle(bundle), threads)
        self._analyser = Analyser(self._runtime, observe=self._record)
        self._started_ns: dict[str, int] = {}
        self._recorded: list[Scores] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of `scores`' last axis."""
        return self._runtime.bundle.spec.labels

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the audio that `feed` takes."""
        return self._analyser.sample_rate_hz

    @property
    def frame_s(self) -> float:
        """Seconds from one frame of `scores` to the next."""
        return self._runtime.bundle.spec.output_hop / self.sample_rate_hz

    def feed(self, pcm: NDArray[np.int16] | NDArray[np.float32], *, stream: str = _DEFAULT_STREAM) -> list[SoundEvent]:
        """Hear the next samples of a stream.

        Args:
            pcm: ``[n]`` at `sample_rate_hz`, mono: int16, or float in [-1, 1]; of any length.
            stream: Name of the stream; each has its own state.

        Returns:
            What began and ended, by time.

        Raises:
            ShapeError: ``pcm`` has more than one dimension or is of another kind.
        """
        return self.feed_many({stream: pcm})

    def feed_many(self, audio: dict[str, NDArray[np.int16] | NDArray[np.float32]]) -> list[SoundEvent]:
        """Hear the next samples of several streams, in batches; see `feed`."""
        waiting = {stream: _as_pcm(samples) for stream, samples in audio.items()}
        events: list[SoundEvent] = []
        while any(len(pcm) for pcm in waiting.values()):
            for stream, pcm in waiting.items():
                if len(pcm):
                    self._accept(stream, pcm[:MAX_BLOCK_SAMPLES], end=False)
                waiting[stream] = pcm[MAX_BLOCK_SAMPLES:]
            events += self._collect()
        return events

    def end(self, *streams: str) -> list[SoundEvent]:
        """End these streams, or all: what is open ends with the reason ``end``, and their state is forgotten."""
        names = [name for name in streams or tuple(self._analyser.streams) if name in self._analyser.streams]
        for name in names:
            self._accept(name, np.zeros(0, np.int16), end=True)
        return self._collect()

    def scores(self, audio: NDArray[np.int16] | NDArray[np.float32], sample_rate_hz: int) -> Scores:
        """The raw scores of a recording, as a stream of its own would get them.

        Args:
            audio: ``[n]``, mono: int16, or float in [-1, 1].
            sample_rate_hz: Its rate; resampled where it is not `sample_rate_hz`.

        Returns:
            float32 ``[T, C]``, a frame each `frame_s`, classes as in `labels`.

        Raises:
            ShapeError: ``audio`` has more than one dimension or is of another kind.
        """
        pcm = _as_pcm(audio)
        if sample_rate_hz != self.sample_rate_hz:
            pcm = soxr.resample(pcm, sample_rate_hz, self.sample_rate_hz)
        recorded: list[Scores] = []
        self._recorded = recorded
        self.feed(pcm, stream=_RECORDING)
        self._recorded = None
        if _RECORDING in self._analyser.streams:
            self._analyser.drop(_RECORDING)
        return np.concatenate(recorded) if recorded else np.zeros((0, len(self.labels)), np.float32)

    def _record(self, names: Sequence[str], _starts: NDArray[np.int64], scores: Scores) -> None:
        if self._recorded is not None and _RECORDING in names:
            self._recorded.append(scores[names.index(_RECORDING)])

    def _accept(self, name: str, pcm: Pcm, *, end: bool) -> None:
        stream = self._analyser.streams.get(name)
        if stream is None:
            stream = self._analyser.open(name, new_epoch(), StoredStream(0, None))
            self._started_ns[name] = time.time_ns()
        self._analyser.accept(
            AudioBlock(
                stream=name,
                epoch=stream.epoch,
                first_sample=stream.needed,
                captured_at_ns=self._started_ns[name] + samples_to_ns(stream.needed, self.sample_rate_hz),
                sample_rate_hz=self.sample_rate_hz,
                newest_sample=stream.needed + len(pcm),
                pcm=pcm,
                can_wait=True,
                end=end,
            ),
            time.monotonic(),
        )

    def _collect(self) -> list[SoundEvent]:
        events: list[SoundEvent] = []
        for commit in self._analyser.collect():
            events += commit.events
            self._analyser.committed(commit)
        return events


def _as_pcm(audio: NDArray[np.int16] | NDArray[np.float32]) -> Pcm:
    if audio.ndim != 1 or audio.dtype.kind not in "if" or (audio.dtype.kind == "i" and audio.dtype != np.int16):
        raise ShapeError(f"expected mono audio, int16 or float [n], got {audio.dtype} {list(audio.shape)}")
    if audio.dtype == np.int16:
        return audio.astype(np.int16, copy=False)
    return np.clip(np.round(audio * 32768), -32768, 32767).astype(np.int16)
