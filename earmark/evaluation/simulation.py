"""What the engine's smoothing would tell, for one class of many files at once and for many settings.

All files lie one after the other on a tape, with silence between them. A class's event is then a stretch of the tape:
where its smoothed score stays at the lower threshold or above, over gaps that are short enough, and reaches the upper
threshold; an onset lies no farther than `ONSET_REACH_S` before that. No state machine runs, and the upper threshold and
the shortest duration of a setting need no new stretches. Tests hold that the events are those of
`engine.smoothing.Smoother`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from earmark.evaluation.scoring import ScoredFiles
from engine.smoothing import ONSET_REACH_S

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Track = NDArray[np.float32]
"""A class's scores along the tape, float32 ``[L]``."""

LONGEST_MEDIAN = 25
_LEAD = LONGEST_MEDIAN
"""Frames of silence before each file and behind the last, so that no median sees two files."""
NO_FRAME = -1


class Framing(Protocol):
    """When scores come, as a `BundleSpec` also says it."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the audio."""
        ...

    @property
    def output_hop(self) -> int:
        """Samples from one score to the next."""
        ...

    @property
    def delay_frames(self) -> int:
        """By which scores come later than what they tell of."""
        ...


class Tape:
    """The scores of all files, one after the other.

    Args:
        scored: The files.
        spec: Of the bundle or other detector that scored them.

    Attributes:
        names: Of the files, in their order on the tape.
        first: int64 ``[N]``: the frame of the tape that each file begins at.
        n_frames: int64 ``[N]``: frames of each file.
        durations_s: float64 ``[N]``: how long each file is.
        reach: Frames that an onset can lie before the upper threshold is reached.
        delay_frames: By which the bundle's scores come later than what they tell of.
    """

    def __init__(self, scored: ScoredFiles, spec: Framing) -> None:
        self.names = tuple(scored.scores)
        self.durations_s = np.array([scored.durations_s[name] for name in self.names], np.float64)
        self._hop, self._rate, self.delay_frames = spec.output_hop, spec.sample_rate_hz, spec.delay_frames
        self.reach = round(ONSET_REACH_S * self._rate) // self._hop
        self.n_frames = np.array([len(scores) for scores in scored.scores.values()], np.int64)
        self.first = np.cumsum(self.n_frames + _LEAD) - self.n_frames
        self._scores = np.zeros((len(scored.labels), int((self.n_frames + _LEAD).sum()) + _LEAD), np.float32)
        for first, scores in zip(self.first, scored.scores.values(), strict=True):
            self._scores[:, first : first + len(scores)] = scores.T

    def smoothed(self, label: int, median_frames: int, floor: float) -> Track:
        """A class's smoothed scores; 0 where they are below ``floor`` or where a stream would still wait for them.

        Args:
            label: The class's place.
            median_frames: Odd, at most `LONGEST_MEDIAN`.
            floor: No threshold will be below it.
        """
        scores, half = self._scores[label], median_frames // 2
        smoothed = np.zeros_like(scores)
        n_high = np.concatenate([[0], np.cumsum(scores >= np.float32(floor))])
        is_high = n_high[median_frames:] - n_high[:-median_frames] > half
        windows = sliding_window_view(scores, median_frames)[is_high]
        smoothed[half : len(scores) - half][is_high] = np.partition(windows, half, axis=-1)[:, half]
        smoothed[(self.first + self.n_frames)[:, None] - np.arange(1, half + 1)] = 0
        # What a delayed score tells of lies before it; of what lies before the file it tells nothing.
        smoothed = np.roll(smoothed, -self.delay_frames)
        smoothed[self.first[:, None] - np.arange(1, self.delay_frames + 1)] = 0
        return smoothed

    @property
    def length(self) -> int:
        """Frames of the tape, with the silence between files and at both ends."""
        return self._scores.shape[1]

    def seconds(self, frames: Ints) -> Floats:
        """Where frames that count from their file's begin are in it."""
        return frames * self._hop / self._rate

    def frames_at_least(self, seconds: float) -> int:
        """Frames, at least one, that together are no shorter than a time, as the smoother rounds it to samples."""
        return max(1, -(-round(seconds * self._rate) // self._hop))

    def file_of(self, frames: Ints) -> Ints:
        """The file that each frame of the tape belongs to."""
        return np.searchsorted(self.first, frames, side="right") - 1


@dataclass(frozen=True)
class Runs:
    """Where a track is at a threshold or above: frames of the tape ``[R]``, each run half-open and within a file."""

    start: Ints
    end: Ints

    @classmethod
    def of(cls, track: Track, threshold: float) -> "Runs":
        """The runs of a track that begins and ends with 0."""
        is_on = track >= np.float32(threshold)
        edges = np.flatnonzero(is_on[1:] != is_on[:-1]) + 1
        return cls(edges[::2], edges[1::2])


@dataclass(frozen=True)
class Stretches:
    """What may be an event each: runs at the lower threshold, joined over short gaps; all int64 ``[Q]``.

    Attributes:
        file: The file that it is in.
        start: Its first frame on the tape.
        end: Behind its last frame that was heard.
        offset: Where an event in it ends: `end`, or the file's end if it goes on until there.
    """

    file: Ints
    start: Ints
    end: Ints
    offset: Ints

    @classmethod
    def of(cls, tape: Tape, runs: Runs, median_frames: int, gap_frames: int) -> "Stretches":
        """Join runs.

        Args:
            tape: Where they are.
            runs: At the lower threshold.
            median_frames: Of the track.
            gap_frames: Gaps that are shorter are none.
        """
        file = tape.file_of(runs.start)
        is_apart = (runs.start[1:] - runs.end[:-1] >= gap_frames) | (file[1:] != file[:-1])
        begins = np.flatnonzero(np.concatenate([np.ones(min(1, len(file)), bool), is_apart]))
        ends = np.flatnonzero(np.concatenate([is_apart, np.ones(min(1, len(file)), bool)]))
        file, end = file[begins], runs.end[ends]
        file_end = tape.first[file] + tape.n_frames[file]
        offset = np.where(end == file_end - median_frames // 2 - tape.delay_frames, file_end, end)
        return cls(file, runs.start[begins], end, offset)

    def onsets(self, runs: Sequence[Runs], reach: int) -> Ints:
        """Where the event of each stretch begins, or `NO_FRAME` if it does not reach the threshold.

        Args:
            runs: At each upper threshold, none below the stretches' own.
            reach: Frames that an onset can lie before the threshold is reached.

        Returns:
            int64 ``[len(runs), Q]``, frames of the tape.
        """
        onsets = np.full((len(runs), len(self.start)), NO_FRAME, np.int64)
        for found, of_threshold in zip(onsets, runs, strict=True):
            starts = np.append(of_threshold.start, np.iinfo(np.int64).max)
            first = starts[np.searchsorted(starts, self.start)]
            np.copyto(found, np.maximum(self.start, first - reach), where=first < self.end)
        return onsets
