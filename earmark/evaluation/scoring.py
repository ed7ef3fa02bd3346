"""A bundle's scores of files, once and for all: metrics and tuning work on them without hearing the audio again.

Every file is a stream of its own, from fresh state, through the engine's own `Analyser`: decoder, resampler, front end,
windows and ONNX Runtime are those of a live stream, so the scores are too. Only scores are kept: 92 MB for 5 h of 51
classes at 25 frames a second.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Bundle
from earmark.contracts.streams import AudioBlock, Pcm, new_epoch
from earmark.outbox import StoredStream
from engine.analyser import Analyser
from engine.runtimes import Audio, Scores
from engine.runtimes.onnxruntime import OnnxRuntime
from streamer.sources.file import read_pcm

_AT_ONCE = 16
_PIECE_HOPS = 50
"""Output hops that a file is fed at once; the analyser holds 4 s."""


@dataclass(frozen=True)
class ScoredFiles:
    """What a bundle scored.

    Attributes:
        labels: The classes, in the order of the scores' last axis.
        frame_s: Seconds from one frame to the next.
        scores: By file name, in [0, 1], float32 ``[T, C]``: whole output hops only.
        durations_s: How long each file is.
    """

    labels: tuple[str, ...]
    frame_s: float
    scores: dict[str, NDArray[np.float32]]
    durations_s: dict[str, float]


def score_files(
    bundle: Bundle, folder: Path, names: Sequence[str], *, on_audio: Callable[[float], None] = lambda _: None
) -> ScoredFiles:
    """Score each file from fresh state, several in one model step.

    Args:
        bundle: What scores.
        folder: Where the files are.
        names: Their names there, of any format that FFmpeg reads; the first channel is heard. In a file that is longer
            than the bundle's window, rows change where they would for a stream of the file's name.
        on_audio: Called with the seconds of audio of every round.

    Raises:
        BundleError: The bundle cannot be used.
        SourceError: A file cannot be read.
    """
    spec = bundle.spec
    listener = _Listener(bundle)
    waiting = iter(dict.fromkeys(names))
    running: dict[str, Iterator[Pcm]] = {}
    scores: dict[str, Scores] = {}
    n_samples = dict.fromkeys(names, 0)
    while True:
        while len(running) < _AT_ONCE and (name := next(waiting, None)) is not None:
            running[name] = _pieces(folder / name, spec.sample_rate_hz, _PIECE_HOPS * spec.output_hop)
            listener.open(name)
        if not running:
            break
        pieces = {name: next(pcm, None) for name, pcm in running.items()}
        heard = {name: piece for name, piece in pieces.items() if piece is not None}
        listener.hear(heard)
        for name, piece in heard.items():
            n_samples[name] += len(piece)
        for name in pieces.keys() - heard.keys():
            del running[name]
            scores[name] = listener.close(name)
        on_audio(sum(map(len, heard.values())) / spec.sample_rate_hz)
    return ScoredFiles(
        spec.labels,
        spec.output_hop / spec.sample_rate_hz,
        {name: scores[name] for name in n_samples},
        {name: n / spec.sample_rate_hz for name, n in n_samples.items()},
    )


class _Listener:
    """Streams of an `Analyser`, whose scores are kept."""

    def __init__(self, bundle: Bundle) -> None:
        self._analyser = Analyser(OnnxRuntime(bundle))
        self._analyser.observe(self._take)
        self._no_scores = np.zeros((0, len(bundle.spec.labels)), np.float32)
        self._parts: dict[str, list[Scores]] = {}

    def open(self, name: str) -> None:
        self._analyser.open(name, new_epoch(), StoredStream(0, None))
        self._parts[name] = [self._no_scores]

    def hear(self, pieces: dict[str, Pcm]) -> None:
        for name, pcm in pieces.items():
            stream = self._analyser.streams[name]
            block = AudioBlock(
                stream=name,
                epoch=stream.epoch,
                first_sample=stream.needed,
                captured_at_ns=0,
                sample_rate_hz=self._analyser.sample_rate_hz,
                newest_sample=stream.needed + len(pcm),
                pcm=pcm,
                can_wait=True,
                end=False,
            )
            self._analyser.accept(block, 0.0)
        self._analyser.advance()

    def close(self, name: str) -> Scores:
        self._analyser.drop(name)
        return np.concatenate(self._parts.pop(name))

    def _take(self, names: Sequence[str], _starts: NDArray[np.int64], scores: Scores, _audio: Audio) -> None:
        for name, of_stream in zip(names, scores, strict=True):
            self._parts[name].append(of_stream)


def _pieces(path: Path, sample_rate_hz: int, n_samples: int) -> Iterator[Pcm]:
    """A file in pieces of ``n_samples``; the last is what is left."""
    rest = np.zeros(0, np.int16)
    for part in read_pcm(path, sample_rate_hz):
        rest = np.concatenate([rest, part])
        while len(rest) >= n_samples:
            yield rest[:n_samples]
            rest = rest[n_samples:]
    yield rest
