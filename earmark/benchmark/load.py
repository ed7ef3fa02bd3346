"""What is sent: many streams that each hear another place of the same recording."""

from itertools import islice
from pathlib import Path

import numpy as np

from earmark.contracts.streams import AudioBlock, Pcm, new_epoch
from earmark.contracts.wire import encode_records
from earmark.evaluation.annotations import read_clips
from earmark.synthesis.scene import make_scene
from streamer.sources.file import read_pcm

_N_CLIPS, _N_SCENES = 64, 4
_STEP = 7_919
"""Samples between the places of two neighbours in the recording; a prime, so that they do not repeat it together."""


def read_audio(data: Path, sample_rate_hz: int) -> tuple[str, Pcm]:
    """A recording of some minutes, and what it is of.

    Args:
        data: Folder of labelled audio; clips of its dev split are taken, evenly over the classes.
        sample_rate_hz: What is returned.

    Raises:
        ConfigError: ``data`` has an index that cannot be read.
        SourceError: One of its files cannot be read.
    """
    if not (data / "index.csv").is_file():
        scenes = [make_scene(seed, sample_rate_hz=sample_rate_hz).audio for seed in range(_N_SCENES)]
        return "made scenes", np.rint(np.concatenate(scenes) * 32767).astype(np.int16)
    clips = sorted(read_clips(data / "index.csv", "dev"), key=lambda clip: (clip.label, clip.file))
    chosen = islice(clips, 0, None, max(1, len(clips) // _N_CLIPS))
    pieces = [piece for clip in chosen for piece in read_pcm(data / clip.file, sample_rate_hz)]
    return "labelled dev clips", np.concatenate(pieces)


class Street:
    """Streams over one recording, which goes round.

    Args:
        audio: int16 ``[n]``, longer than a block.
        n_streams: How many.
        sample_rate_hz: Of ``audio``.
        block: Samples of a block.
    """

    def __init__(self, audio: Pcm, n_streams: int, sample_rate_hz: int, block: int) -> None:
        self._audio = np.concatenate([audio, audio[:block]])
        self._n = len(audio)
        self._rate_hz = sample_rate_hz
        self.block = block
        self.names = [f"gate-{i}" for i in range(n_streams)]
        self.epochs = [new_epoch() for _ in self.names]

    def next_epoch(self, i: int) -> int:
        """Let a stream begin again."""
        self.epochs[i] = new_epoch()
        return self.epochs[i]

    def round(self, index: int) -> list[bytes]:
        """Each stream's block of this index, in a message of its own."""
        return [encode_records([self.one(i, index * self.block)]) for i in range(len(self.names))]

    def one(self, i: int, first: int, captured_at_ns: int = 0, *, end: bool = False) -> AudioBlock:
        """A stream's block from its sample ``first`` on."""
        at = (first + i * _STEP) % self._n
        pcm = self._audio[at : at + self.block]
        return AudioBlock(
            self.names[i], self.epochs[i], first, captured_at_ns, self._rate_hz, first + self.block, pcm, end=end
        )
