"""What the engine's smoothing would tell, for one class of many files at once and for many settings.

All files lie one after the other on a tape, with silence between them. Each run of frames at the upper threshold is a
proof. An event goes from its first proof, or up to `ONSET_REACH_S` before it, for as long as the smoothed score stays
at the lower threshold and the last proof is recent, over gaps that are short enough. No state machine runs. Tests hold
that the events are those of `engine.smoothing.Smoother`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from earmark.contracts.bundle import Smoothing
from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.scoring import ScoredFiles
from engine.smoothing import ONSET_REACH_S

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Track = NDArray[np.float32]
"""A class's scores along the tape, float32 ``[L]``."""

LONGEST_MEDIAN = 25
_LEAD = LONGEST_MEDIAN
"""Frames of silence before each file and behind the last, so that no median sees two files."""


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

    def frames_at_most(self, seconds: float | None) -> int | None:
        """Frames that together are no longer than a time, as the smoother rounds it to samples; None stays None."""
        return None if seconds is None else round(seconds * self._rate) // self._hop

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
    """Runs at the lower threshold, in which events may be; runs over a short gap belong to one stretch.

    Attributes:
        runs: All runs.
        file: int64 ``[R]``: the file that each run is in.
        first: int64 ``[R]``: the first run of its stretch.
        last: int64 ``[R]``: the last run of its stretch.
        gap_frames: A gap of so many frames separates stretches, and ends events.
    """

    runs: Runs
    file: Ints
    first: Ints
    last: Ints
    gap_frames: int

    @classmethod
    def of(cls, tape: Tape, runs: Runs, gap_frames: int) -> "Stretches":
        """Join runs.

        Args:
            tape: Where they are.
            runs: At the lower threshold.
            gap_frames: Gaps that are shorter are none.
        """
        file = tape.file_of(runs.start)
        is_apart = (runs.start[1:] - runs.end[:-1] >= gap_frames) | (file[1:] != file[:-1])
        first, last = _bounds(is_apart, len(file))
        of_run = np.concatenate([np.zeros(min(1, len(file)), np.int64), np.cumsum(is_apart)])
        return cls(runs, file, first[of_run], last[of_run], gap_frames)


@dataclass(frozen=True)
class FrameEvents:
    """Events of one class, whatever their length, in order; all int64 ``[E]``.

    Attributes:
        file: Place of the file that each is in.
        onset: Its first frame on the tape.
        end: The frame after the last one that belongs to it; what is shorter than the shortest duration is no event.
        offset: Where it ends: `end`, or the file's end if it is open there.
    """

    file: Ints
    onset: Ints
    end: Ints
    offset: Ints

    @classmethod
    def of(
        cls, tape: Tape, stretches: Stretches, proofs: Runs, median_frames: int, unproven_frames: int | None
    ) -> "FrameEvents":
        """Decide.

        Args:
            tape: Where the stretches are.
            stretches: At the lower threshold.
            proofs: Runs at the upper threshold, which is no lower.
            median_frames: Of the track.
            unproven_frames: How many frames an event goes on without proof; None for no limit.
        """
        runs = stretches.runs
        run = np.searchsorted(runs.start, proofs.start, side="right") - 1
        end = _last_heard(stretches, proofs, run, unproven_frames)
        file = stretches.file[run]
        is_apart = (proofs.start[1:] - end[:-1] >= stretches.gap_frames) | (file[1:] != file[:-1])
        first, last = _bounds(is_apart, len(file))
        file, end = file[first], end[last]
        onset = np.maximum(_rises(stretches, run[first], file, end), proofs.start[first] - tape.reach)
        file_end = tape.first[file] + tape.n_frames[file]
        offset = np.where(end == file_end - median_frames // 2 - tape.delay_frames, file_end, end)
        return cls(file, onset, end, offset)

    def only(self, chosen: NDArray[np.bool_]) -> "FrameEvents":
        """The events at the places ``chosen [E]``."""
        return FrameEvents(self.file[chosen], self.onset[chosen], self.end[chosen], self.offset[chosen])

    @classmethod
    def decided(cls, tape: Tape, track: Track, smoothing: Smoothing) -> "FrameEvents":
        """The events of one class, as the engine's smoother decides them.

        Args:
            tape: All files.
            track: The class's smoothed scores along the tape, from `Tape.smoothed`.
            smoothing: How they become events.
        """
        lower, proofs = Runs.of(track, smoothing.offset_threshold), Runs.of(track, smoothing.onset_threshold)
        stretches = Stretches.of(tape, lower, tape.frames_at_least(smoothing.min_gap_s))
        limit = tape.frames_at_most(smoothing.max_unproven_s)
        events = cls.of(tape, stretches, proofs, smoothing.median_frames, limit)
        return events.only(events.end - events.onset >= tape.frames_at_least(smoothing.min_duration_s))


def decided_events(
    scored: ScoredFiles, framing: Framing, smoothing_of: Callable[[str], Smoothing]
) -> dict[str, list[LabelledEvent]]:
    """The events of each file, by onset.

    Args:
        scored: Scores by any detector.
        framing: When they come.
        smoothing_of: How each class is smoothed.
    """
    tape = Tape(scored, framing)
    found: dict[str, list[LabelledEvent]] = {name: [] for name in tape.names}
    for index, label in enumerate(scored.labels):
        smoothing = smoothing_of(label)
        track = tape.smoothed(index, smoothing.median_frames, smoothing.offset_threshold)
        events = FrameEvents.decided(tape, track, smoothing)
        first = tape.first[events.file]
        extents = np.stack([tape.seconds(events.onset - first), tape.seconds(events.offset - first)], axis=1)
        for file, (onset_s, offset_s) in zip(events.file.tolist(), extents.tolist(), strict=True):
            found[tape.names[file]].append(LabelledEvent(onset_s, offset_s, label))
    return {name: sorted(events) for name, events in found.items()}


def _bounds(is_apart: NDArray[np.bool_], n: int) -> tuple[Ints, Ints]:
    """First and last member of each group of ``n``, where ``is_apart [n - 1]`` separates neighbours."""
    edge = np.ones(min(1, n), bool)
    return np.flatnonzero(np.concatenate([edge, is_apart])), np.flatnonzero(np.concatenate([is_apart, edge]))


def _last_heard(stretches: Stretches, proofs: Runs, run: Ints, unproven_frames: int | None) -> Ints:
    """Up to where each proof keeps an event open if no other follows: the frame after, int64 ``[P]``.

    Args:
        stretches: At the lower threshold.
        proofs: P runs at the upper one.
        run: The run at the lower threshold that each is in.
        unproven_frames: As for `FrameEvents.of`.
    """
    runs = stretches.runs
    if unproven_frames is None:
        return runs.end[stretches.last[run]]
    limit = proofs.end + unproven_frames
    reached = np.minimum(np.searchsorted(runs.start, limit) - 1, stretches.last[run])
    return np.minimum(limit, runs.end[reached])


def _rises(stretches: Stretches, run: Ints, file: Ints, end: Ints) -> Ints:
    """Since when the class has been at the lower threshold where each event is first proven, int64 ``[E]``.

    That is since its stretch began, but not before the event before it was over, a gap after its last frame.

    Args:
        stretches: At the lower threshold.
        run: The run that each event's first proof is in.
        file: The file of each event.
        end: The frame after the last one of each event.
    """
    runs = stretches.runs
    begin = runs.start[stretches.first[run]]
    over = end[:-1] + stretches.gap_frames
    next_run = np.minimum(np.searchsorted(runs.end, over, side="right"), run[1:])
    since = np.maximum(over, runs.start[next_run])
    begin[1:] = np.where(file[1:] == file[:-1], np.maximum(begin[1:], since), begin[1:])
    return begin
