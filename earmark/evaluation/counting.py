"""Counts what every setting of a grid finds of one class, and what it gets wrong, for `earmark.evaluation.tuning`.

In scenes, whose events have times, a hit is what `earmark.evaluation.events` calls one: an onset within 200 ms of the
truth's, and an offset within 200 ms or a fifth of the truth's length, each side matched at most once, as many as can
be. A real recording has a class that must be found at any time. Where a class must not be, every event of it is wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Smoothing
from earmark.evaluation.events import largest_matching
from earmark.evaluation.ignoring import are_ignored
from earmark.evaluation.simulation import Floats, FrameEvents, Ints, Runs, Stretches, Tape

Table: TypeAlias = NDArray[np.int32]
Flags: TypeAlias = NDArray[np.bool_]

_COLLAR_S = 0.2
_OFFSET_SHARE = 0.2
_DIGITS = 4
"""Of an offset threshold."""


class Measure(IntEnum):
    """What is counted: the first axis of a table."""

    HITS = 0
    """True events of scenes that were detected in time."""
    DETECTED = 1
    """Events in scenes."""
    FOUND = 2
    """Real recordings in which the class must be found and was."""
    WRONG = 3
    """Events in files in which the class must not be."""
    WRONG_FRAMES = 4
    """Their length."""
    WRONG_MUSIC_FRAMES = 5
    """Their length in music."""


@dataclass(frozen=True)
class Grid:
    """Settings: every combination, an axis each in this order. ``offset_share`` is of the onset threshold."""

    median_frames: tuple[int, ...]
    onset_threshold: tuple[float, ...]
    offset_share: tuple[float, ...]
    min_gap_s: tuple[float, ...]
    max_unproven_s: tuple[float, ...]
    min_duration_s: tuple[float, ...]

    @property
    def axes(self) -> tuple[tuple[float, ...], ...]:
        """What each axis holds."""
        return (
            self.median_frames,
            self.onset_threshold,
            self.offset_share,
            self.min_gap_s,
            self.max_unproven_s,
            self.min_duration_s,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a table with a place for each setting."""
        return tuple(map(len, self.axes))

    def smoothing(self, place: int) -> Smoothing:
        """The setting at a place of the flat table."""
        median, onset, share, gap, limit, duration = np.unravel_index(place, self.shape)
        return Smoothing(
            median_frames=self.median_frames[median],
            onset_threshold=self.onset_threshold[onset],
            offset_threshold=self._offset_threshold(int(onset), int(share)),
            min_gap_s=self.min_gap_s[gap],
            max_unproven_s=self.max_unproven_s[limit],
            min_duration_s=self.min_duration_s[duration],
        )

    def ranked(self) -> Ints:
        """All places of the flat table, those first that detect less: int64 ``[S]``."""
        median, onset, share, gap, limit, duration = (
            axis.reshape(-1) for axis in np.meshgrid(*map(np.asarray, self.axes), indexing="ij")
        )
        return np.lexsort((gap, median, -duration, limit, -share, -onset))

    def events(self, tape: Tape, label: int) -> Iterator[tuple[tuple[int, ...], FrameEvents]]:
        """The events of a class under each setting, however short, with its place on all axes but the last."""
        limits = [tape.frames_at_most(seconds) for seconds in self.max_unproven_s]
        gaps = [tape.frames_at_least(seconds) for seconds in self.min_gap_s]
        floor = min(self.onset_threshold) * min(self.offset_share)
        for m, median in enumerate(self.median_frames):
            track = tape.smoothed(label, median, floor)
            for k, onset in enumerate(self.onset_threshold):
                proofs = Runs.of(track, onset)
                for o in range(len(self.offset_share)):
                    lower = Runs.of(track, self._offset_threshold(k, o))
                    for g, gap_frames in enumerate(gaps):
                        stretches = Stretches.of(tape, lower, gap_frames)
                        for u, limit in enumerate(limits):
                            yield (m, k, o, g, u), FrameEvents.of(tape, stretches, proofs, median, limit)

    def _offset_threshold(self, onset: int, share: int) -> float:
        return round(self.onset_threshold[onset] * self.offset_share[share], _DIGITS)


@dataclass(frozen=True)
class ClassTruth:
    """Where a class is, and where it must not be.

    Attributes:
        file: int64 ``[M]``: the file on the tape of each true event of scenes.
        onset_s: float64 ``[M]``, in that file.
        offset_s: float64 ``[M]``, in that file.
        is_asked: bool ``[N]``: the real recordings in which it must be found.
        is_wrong: bool ``[N]``: the files in which it must not be.
        ignored: float64 ``[K, 3]``: file, onset and offset of its ignored extents; see `earmark.evaluation.ignoring`.
    """

    file: Ints
    onset_s: Floats
    offset_s: Floats
    is_asked: Flags
    is_wrong: Flags
    ignored: Floats

    def are_ignored(self, file: Ints, onset_s: Floats, offset_s: Floats) -> Flags:
        """Which events of the class count neither as right nor as wrong, bool ``[E]``."""
        if not len(self.ignored) or not len(file):
            return np.zeros(len(file), np.bool_)
        true = np.stack([self.file.astype(np.float64), self.onset_s, self.offset_s], axis=1)
        # All files on one axis, far enough apart that no extent reaches into the next one.
        apart_s = 1.0 + max(offset_s.max(), self.onset_s.max(initial=0.0), self.ignored[:, 1].max())
        axes = [np.minimum(part[:, 1:], apart_s) + apart_s * part[:, :1] for part in (true, self.ignored)]
        return are_ignored(onset_s + apart_s * file, offset_s + apart_s * file, *axes)


class Counter:
    """Counts on the same files again and again.

    Args:
        tape: The files.
        fold: int64 ``[N]``: each file's fold; they are counted apart.
        n_folds: How many folds there are.
        is_scene: bool ``[N]``: the files whose true events have times.
        is_music: bool ``[N]``: the files that are music.
    """

    def __init__(self, tape: Tape, fold: Ints, n_folds: int, is_scene: Flags, is_music: Flags) -> None:
        self._tape = tape
        self._fold = fold
        self._is_scene, self._is_music = is_scene, is_music
        self._n_folds = n_folds

    def count(self, label: int, truth: ClassTruth, grid: Grid) -> Table:
        """Count for one class.

        Args:
            label: The class's place.
            truth: All of it.
            grid: The settings.

        Returns:
            int32 ``[len(Measure), n_folds, *grid.shape]``.
        """
        counts = np.zeros((len(Measure), self._n_folds, *grid.shape), np.int32)
        durations = np.array([self._tape.frames_at_least(seconds) for seconds in grid.min_duration_s])
        columns = self._columns(truth)
        for place, found in grid.events(self._tape, label):
            events = found.only(found.end - found.onset >= durations.min())
            events = events.only(~truth.are_ignored(events.file, *self._times_s(events)))
            is_event = events.end - events.onset >= durations[:, None]
            counts[(slice(None), slice(None), *place)] = self._count(events, is_event, truth, columns)
        return counts

    def _columns(self, truth: ClassTruth) -> NDArray[np.float32]:
        """What an event in each file, and each of its frames, count for: ``[N, n_folds, 4]``.

        The last axis: detected, wrong, wrong frames, wrong frames in music.
        """
        kinds = np.stack(
            [self._is_scene, truth.is_wrong, truth.is_wrong, truth.is_wrong & self._is_music], axis=-1
        ).astype(np.float32)
        return kinds[:, None] * (self._fold[:, None] == np.arange(self._n_folds))[..., None]

    def _count(self, events: FrameEvents, is_event: Flags, truth: ClassTruth, columns: NDArray[np.float32]) -> Table:
        """Count what D shortest durations leave of E events, ``is_event [D, E]``: ``[len(Measure), n_folds, D]``."""
        n_frames = (events.offset - events.onset).astype(np.float32)
        one = np.ones_like(n_frames)
        weights = columns[events.file] * np.stack([one, one, n_frames, n_frames], axis=-1)[:, None]
        sums = is_event.astype(np.float32) @ weights.reshape(len(n_frames), self._n_folds * weights.shape[-1])
        detected, wrong, frames, music = sums.reshape(len(is_event), self._n_folds, weights.shape[-1]).transpose(
            2, 1, 0
        )
        hits = self._hits(events, is_event, truth)
        found = self._found(events, is_event, truth)
        return np.stack([hits, detected, found, wrong, frames, music]).astype(np.int32)

    def _found(self, events: FrameEvents, is_event: Flags, truth: ClassTruth) -> Ints:
        """Asked recordings with an event, int64 ``[n_folds, D]``."""
        asked = truth.is_asked[events.file]
        is_found = np.zeros((len(is_event), len(truth.is_asked)), np.bool_)
        duration, event = np.nonzero(is_event[:, asked])
        is_found[duration, events.file[asked][event]] = True
        return np.stack([is_found[:, self._fold == fold].sum(axis=1) for fold in range(self._n_folds)])

    def _times_s(self, events: FrameEvents) -> tuple[Floats, Floats]:
        """Onsets and offsets in their files."""
        tape, first = self._tape, self._tape.first[events.file]
        return tape.seconds(events.onset - first), tape.seconds(events.offset - first)

    def _hits(self, events: FrameEvents, is_event: Flags, truth: ClassTruth) -> Ints:
        """True events that match, int64 ``[n_folds, D]``."""
        hits = np.zeros((self._n_folds, len(is_event)), np.int64)
        onset_s, offset_s = self._times_s(events)
        of_truth, of_found = _pairs(events.file, truth.file)
        collar = np.maximum(_COLLAR_S, _OFFSET_SHARE * (truth.offset_s - truth.onset_s))
        is_close = np.abs(onset_s[of_found] - truth.onset_s[of_truth]) <= _COLLAR_S
        is_close &= np.abs(offset_s[of_found] - truth.offset_s[of_truth]) <= collar[of_truth]
        of_truth, of_found = of_truth[is_close], of_found[is_close]
        for fold in np.unique(fold_of := self._fold[truth.file[of_truth]]):
            here = fold_of == fold
            hits[fold] = _matched(is_event[:, of_found[here]], of_truth[here], of_found[here])
        return hits


def _pairs(found_file: Ints, true_file: Ints) -> tuple[Ints, Ints]:
    """Every true and detected event of one file: places of both; ``found_file`` is sorted."""
    begin = np.searchsorted(found_file, true_file)
    n_here = np.searchsorted(found_file, true_file, side="right") - begin
    of_truth = np.repeat(np.arange(len(true_file)), n_here)
    of_found = np.arange(len(of_truth)) + np.repeat(begin - np.cumsum(n_here) + n_here, n_here)
    return of_truth, of_found


def _matched(fits: Flags, of_truth: Ints, of_found: Ints) -> Ints:
    """The largest number of pairs that share no side, for each row of ``fits [X, P]``."""
    is_alone = (np.bincount(of_truth)[of_truth] == 1) & (np.bincount(of_found)[of_found] == 1)
    n_matched = np.count_nonzero(fits[:, is_alone], axis=1)
    if is_alone.all():
        return n_matched
    shared = list(zip(of_truth[~is_alone].tolist(), of_found[~is_alone].tolist(), strict=True))
    patterns, place = np.unique(fits[:, ~is_alone], axis=0, return_inverse=True)
    sizes = [_n_matched([pair for pair, does in zip(shared, pattern, strict=True) if does]) for pattern in patterns]
    return n_matched + np.array(sizes)[place.reshape(-1)]


def _n_matched(pairs: Sequence[tuple[int, int]]) -> int:
    options: dict[int, list[int]] = {}
    for true, found in pairs:
        options.setdefault(true, []).append(found)
    return len(largest_matching(list(options.values())))
