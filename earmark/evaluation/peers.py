"""Detectors that are not ours, measured on the same recordings by the same rules.

A peer gives scores of our labels in frames of constant length. Its events are the simplest that its scores allow: runs
of frames at or above one threshold, which is the same for all classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Smoothing
from earmark.evaluation.scoring import ScoredFiles
from streamer.sources.file import read_pcm

PEER_RATE_HZ = 16_000
PEER_SMOOTHING = Smoothing(
    onset_threshold=0.5, offset_threshold=0.5, median_frames=1, min_duration_s=0.0, min_gap_s=0.0
)
"""An event is a run of frames at or above a threshold; `at_threshold` sets another one."""


class Peer(Protocol):
    """A detector of some of our labels."""

    @property
    def name(self) -> str:
        """For tables and plots."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of our labels that it can detect."""
        ...

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        ...

    @property
    def usual_threshold(self) -> float:
        """What its users set, or its authors advise."""
        ...

    def score(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score a whole recording.

        Args:
            audio: float32 ``[n]`` in [-1, 1] at `PEER_RATE_HZ`; borrowed, not kept.

        Returns:
            In [0, 1], float32 ``[T, C]``: at least one frame, and no sample after the last one.
        """
        ...


@dataclass(frozen=True)
class PeerFraming:
    """When a peer's scores come: at the time of what they tell of.

    Attributes:
        output_hop: Samples of a frame.
        sample_rate_hz: Rate of the audio.
        delay_frames: None.
    """

    output_hop: int
    sample_rate_hz: int = PEER_RATE_HZ
    delay_frames: int = 0


def score_peer(
    peer: Peer, folder: Path, names: Sequence[str], *, on_file: Callable[[float], None] = lambda _: None
) -> ScoredFiles:
    """Score files with a peer.

    Args:
        peer: What scores.
        folder: Where the files are.
        names: Their names there, of any format that FFmpeg reads; the first channel is heard.
        on_file: Called with the seconds of audio of each file.

    Raises:
        SourceError: A file cannot be read.
    """
    scores: dict[str, NDArray[np.float32]] = {}
    durations_s: dict[str, float] = {}
    for name in names:
        pcm = [np.zeros(0, np.int16), *read_pcm(folder / name, PEER_RATE_HZ)]
        audio = np.concatenate(pcm).astype(np.float32) / np.float32(32768)
        scores[name], durations_s[name] = peer.score(audio), len(audio) / PEER_RATE_HZ
        on_file(durations_s[name])
    return ScoredFiles(peer.labels, peer.hop / PEER_RATE_HZ, scores, durations_s)
