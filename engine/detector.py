"""The engine inside another program: feed audio, get events. No sockets, no disk."""

import math
import os
import time
from collections.abc import Mapping

import numpy as np
import soxr
from numpy.typing import ArrayLike

from earmark.contracts.bundle import load_bundle
from earmark.contracts.clock import samples_to_ns
from earmark.contracts.errors import ConfigError, ShapeError
from earmark.contracts.events import SoundEvent
from earmark.contracts.presets import Preset
from earmark.contracts.streams import AudioBlock, Pcm, check_stream_name, new_epoch
from earmark.contracts.wire import MAX_BLOCK_SAMPLES
from earmark.outbox import StoredStream
from engine.analyser import Analyser
from engine.confirmation import open_confirmation
from engine.judging import ConfirmConfig
from engine.runtimes import Scores
from engine.runtimes.onnxruntime import OnnxRuntime

_DEFAULT_STREAM = "default"
_RECORDING = "/scores"
"""No stream's name: `Detector.scores` hears its recording beside the caller's streams."""
_LOUDEST = 4.0
"""Float audio may go a little beyond 1 and is clipped; beyond this it is on another scale."""


class Detector:
    """Detects sound events in audio that the caller has.

    Args:
        bundle: Name of a bundle that ships, or the folder of one.
        threads: Threads of one model step.
        preset: Which of the bundle's presets decides; None takes the bundle's own choice.
        threshold: Onset threshold of all labels, above 0 and up to 1; None takes the bundle's or the preset's.
        confirm: Has a second network confirm onsets before they are events: a bundle as above, or all settings.

    Raises:
        BundleError: A bundle cannot be used, or has no presets.
        ConfigError: A setting of ``confirm`` does not fit the bundles, or ``threshold`` is no probability.

    Example:
        >>> detector = Detector()
        >>> events = detector.feed(pcm) + detector.end()
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] = "urban",
        *,
        threads: int = 1,
        preset: Preset | None = None,
        threshold: float | None = None,
        confirm: str | os.PathLike[str] | ConfirmConfig | None = None,
    ) -> None:
        self._runtime = OnnxRuntime(load_bundle(bundle, preset).with_threshold(threshold), threads)
        if isinstance(confirm, str | os.PathLike):
            confirm = ConfirmConfig(bundle=os.fspath(confirm))
        confirmation = open_confirmation(self._runtime.bundle, confirm, threads)
        self._analyser = Analyser(self._runtime, confirmation=confirmation)
        self._started_ns: dict[str, int] = {}

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

    def feed(self, pcm: ArrayLike, *, stream: str = _DEFAULT_STREAM) -> list[SoundEvent]:
        """Hear the next samples of a stream.

        Args:
            pcm: ``[n]`` at `sample_rate_hz`, mono: int16, or float in [-1, 1]; of any length. Borrowed, not kept.
            stream: Name of the stream; each has its own state.

        Returns:
            What began and ended, by time.

        Raises:
            ShapeError: ``pcm`` is not one dimension of these kinds, is not finite, or is float on another scale.
            ConfigError: ``stream`` is no stream's name.
        """
        return self.feed_many({stream: pcm})

    def feed_many(self, audio: Mapping[str, ArrayLike]) -> list[SoundEvent]:
        """Hear the next samples of several streams, in batches; see `feed`. All is checked before any is heard."""
        return self._hear({check_stream_name(stream): _as_pcm(samples) for stream, samples in audio.items()})

    def _hear(self, waiting: dict[str, Pcm]) -> list[SoundEvent]:
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

    def scores(self, audio: ArrayLike, sample_rate_hz: int) -> Scores:
        """The raw scores of a recording, as a stream of its own would get them.

        Args:
            audio: ``[n]``, mono: int16, or float in [-1, 1].
            sample_rate_hz: Its rate; resampled where it is not `sample_rate_hz`.

        Returns:
            float32 ``[T, C]``, a frame each `frame_s`, classes as in `labels`.

        Raises:
            ShapeError: ``audio`` is not one dimension of these kinds, is not finite, or is float on another scale.
            ConfigError: ``sample_rate_hz`` is not above 0.
        """
        if not sample_rate_hz > 0:
            raise ConfigError(f"expected sample_rate_hz above 0, got {sample_rate_hz}; give the recording's own rate")
        pcm = _as_pcm(audio)
        if sample_rate_hz != self.sample_rate_hz:
            pcm = soxr.resample(pcm, sample_rate_hz, self.sample_rate_hz)
        recorded: list[Scores] = []
        self._analyser.observe(lambda _names, _starts, scores, _audio: recorded.append(scores[0]), {_RECORDING})
        try:
            self._hear({_RECORDING: pcm})
        finally:
            self._analyser.observe(None)
            if _RECORDING in self._analyser.streams:
                self._analyser.drop(_RECORDING)
        return np.concatenate(recorded) if recorded else np.zeros((0, len(self.labels)), np.float32)

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


def _as_pcm(audio: ArrayLike) -> Pcm:
    try:
        samples = np.asarray(audio)
    except ValueError as error:
        raise ShapeError(f"expected mono audio, int16 or float [n], got {error}") from error
    if samples.ndim != 1 or not (samples.dtype == np.int16 or samples.dtype.kind == "f"):
        raise ShapeError(f"expected mono audio, int16 or float [n], got {samples.dtype} {list(samples.shape)}")
    if samples.dtype == np.int16:
        return samples.astype(np.int16, copy=False)
    peak = float(np.abs(samples).max(initial=0.0))
    if not math.isfinite(peak):
        raise ShapeError(f"expected finite float audio in [-1, 1], got {peak}; replace what is not finite")
    if peak > _LOUDEST:
        raise ShapeError(
            f"expected float audio in [-1, 1], got values up to {peak:g}; divide by 32768 if it is int16 as float"
        )
    return np.clip(np.round(samples * np.float32(32768)), -32768, 32767).astype(np.int16)
