"""Counts hits and false alarms of one class for a whole grid of settings at once, for `earmark.evaluation.tuning`.

A hit is what `earmark.evaluation.events` calls one: an onset within 200 ms of the truth's and, for ``event``, an offset
within 200 ms or a fifth of the truth's length, each side matched at most once, as many as can be. For ``segment`` it is
a second in which the class is both detected and true.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Smoothing
from earmark.evaluation.events import largest_matching
from earmark.evaluation.simulation import NO_FRAME, Floats, Ints, Runs, Stretches, Tape

Metric: TypeAlias = Literal["event", "onset", "segment"]
Table: TypeAlias = NDArray[np.int32]
Flags: TypeAlias = NDArray[np.bool_]

_COLLAR_S = 0.2
_OFFSET_SHARE = 0.2
_SEGMENT_S = 1.0


@dataclass(frozen=True)
class Grid:
    """Settings: every combination, an axis each in this order."""

    median_frames: tuple[int, ...]
    offset_threshold: tuple[float, ...]
    min_gap_s: tuple[float, ...]
    onset_threshold: tuple[float, ...]
    min_duration_s: tuple[float, ...]

    @classmethod
    def of(cls, smoothing: Smoothing) -> "Grid":
        """One setting."""
        return cls(
            (smoothing.median_frames,),
            (smoothing.offset_threshold,),
            (smoothing.min_gap_s,),
            (smoothing.onset_threshold,),
            (smoothing.min_duration_s,),
        )

    @property
    def axes(self) -> tuple[tuple[float, ...], ...]:
        """What each axis holds."""
        return self.median_frames, self.offset_threshold, self.min_gap_s, self.onset_threshold, self.min_duration_s

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a table with a place for each setting."""
        return tuple(map(len, self.axes))

    def smoothing(self, place: int) -> Smoothing:
        """The setting at a place of the flat table."""
        median, offset, gap, onset, duration = np.unravel_index(place, self.shape)
        return Smoothing(
            median_frames=self.median_frames[median],
            offset_threshold=self.offset_threshold[offset],
            min_gap_s=self.min_gap_s[gap],
            onset_threshold=self.onset_threshold[onset],
            min_duration_s=self.min_duration_s[duration],
        )


@dataclass(frozen=True)
class ClassTruth:
    """Where a class is: file on the tape int64 ``[M]``, times in that file float64 ``[M]``."""

    file: Ints
    onset_s: Floats
    offset_s: Floats


class Counter:
    """Counts on the same files again and again.

    Args:
        tape: The files.
        is_judged: bool ``[N]``: files that hits are counted in; false alarms are counted in all.
        metric: What a hit is.
    """

    def __init__(self, tape: Tape, is_judged: Flags, metric: Metric) -> None:
        self._tape = tape
        self._is_judged = is_judged
        self._metric: Metric = metric
        self._seconds = Seconds(tape)

    def n_true(self, truth: ClassTruth) -> int:
        """How much there is to hit."""
        if self._metric != "segment":
            return len(truth.file)
        return int(self._seconds.are_true(truth).sum())

    def count(self, label: int, truth: ClassTruth, grid: Grid) -> Table:
        """Count for one class.

        Args:
            label: The class's place.
            truth: All of it, in judged files only.
            grid: The settings. Those whose offset threshold is above their onset threshold are left 0.

        Returns:
            int32 ``[3, *grid.shape]``: hits; what was detected in judged files (events or seconds); false alarms, which
            are events in files without the class.
        """
        tape = self._tape
        is_empty = np.ones(len(tape.names), bool)
        is_empty[truth.file] = False
        counts = np.zeros((3, *grid.shape), np.int32)
        durations = np.array([tape.frames_at_least(seconds) for seconds in grid.min_duration_s])
        for m, median in enumerate(grid.median_frames):
            track = tape.smoothed(label, median, min(grid.offset_threshold))
            upper = [Runs.of(track, threshold) for threshold in grid.onset_threshold]
            for o, threshold in enumerate(grid.offset_threshold):
                lower = Runs.of(track, threshold)
                first = next((k for k, onset in enumerate(grid.onset_threshold) if onset >= threshold), len(upper))
                for g, gap_s in enumerate(grid.min_gap_s):
                    stretches = Stretches.of(tape, lower, median, tape.frames_at_least(gap_s))
                    found = Found.of(tape, stretches, upper[first:], durations)
                    counts[:, m, o, g, first:] = self._count(found, truth, is_empty)
        return counts

    def _count(self, found: "Found", truth: ClassTruth, is_empty: Flags) -> Table:
        n_alarms = np.count_nonzero(found.is_event[..., is_empty[found.file]], axis=-1)
        judged = found.only(self._is_judged[found.file])
        if self._metric == "segment":
            return np.stack([*self._seconds.count(judged, truth), n_alarms]).astype(np.int32)
        n_hits = judged.hits(truth, with_offset=self._metric == "event")
        return np.stack([n_hits, np.count_nonzero(judged.is_event, axis=-1), n_alarms]).astype(np.int32)


@dataclass(frozen=True)
class Found:
    """What K upper thresholds and D durations make of Q stretches.

    Attributes:
        file: int64 ``[Q]``.
        onset_s: float64 ``[K, Q]``, in the file.
        offset_s: float64 ``[Q]``, in the file.
        is_event: bool ``[K, D, Q]``.
    """

    file: Ints
    onset_s: Floats
    offset_s: Floats
    is_event: Flags

    @classmethod
    def of(cls, tape: Tape, stretches: Stretches, upper: Sequence[Runs], durations: Ints) -> "Found":
        """See the class; stretches without an event under any setting are left out."""
        onsets = stretches.onsets(upper, tape.reach)
        lengths = np.where(onsets == NO_FRAME, 0, stretches.end - onsets)
        is_event = lengths[:, None] >= durations[:, None]
        first = tape.first[stretches.file]
        onset_s, offset_s = tape.seconds(onsets - first), tape.seconds(stretches.offset - first)
        found = cls(stretches.file, onset_s, offset_s, is_event)
        return found.only((onsets != NO_FRAME).any(axis=0))

    def only(self, chosen: Flags) -> "Found":
        """The stretches at the places ``chosen [Q]``."""
        return Found(self.file[chosen], self.onset_s[:, chosen], self.offset_s[chosen], self.is_event[..., chosen])

    def hits(self, truth: ClassTruth, *, with_offset: bool) -> Ints:
        """How many events match, int64 ``[K, D]``."""
        begin, end = np.searchsorted(self.file, truth.file), np.searchsorted(self.file, truth.file, side="right")
        of_truth = np.repeat(np.arange(len(truth.file)), end - begin)
        of_found = np.arange(len(of_truth)) + np.repeat(begin - np.cumsum(end - begin) + (end - begin), end - begin)
        is_close = np.abs(self.onset_s[:, of_found] - truth.onset_s[of_truth]) <= _COLLAR_S
        is_pair = is_close.any(axis=0)
        if with_offset:
            collar = np.maximum(_COLLAR_S, _OFFSET_SHARE * (truth.offset_s - truth.onset_s))
            is_pair &= np.abs(self.offset_s[of_found] - truth.offset_s[of_truth]) <= collar[of_truth]
        of_truth, of_found = of_truth[is_pair], of_found[is_pair]
        fits = is_close[:, None, is_pair] & self.is_event[..., of_found]
        n_onsets, n_durations, n_pairs = fits.shape
        matched = _matched(fits.reshape(n_onsets * n_durations, n_pairs), of_truth, of_found)
        return matched.reshape(n_onsets, n_durations)


class Seconds:
    """Whole seconds of all files, for the metric ``segment``; a last one may be shorter.

    Args:
        tape: The files.
    """

    def __init__(self, tape: Tape) -> None:
        n_seconds = np.ceil(tape.durations_s / _SEGMENT_S).astype(np.int64)
        self._end = np.cumsum(n_seconds)
        self._first = self._end - n_seconds
        self._n_seconds = int(n_seconds.sum())

    def are_true(self, truth: ClassTruth) -> Flags:
        """Which hold some of the truth, bool ``[S]``."""
        begin, end = self._between(truth.file, truth.onset_s, truth.offset_s)
        return self._covered(begin[None], end[None], np.ones((1, len(begin)), bool))[0]

    def count(self, found: Found, truth: ClassTruth) -> tuple[Ints, Ints]:
        """Seconds that are both, and seconds that are detected, int64 ``[K, D]`` each."""
        n_onsets, n_durations, n_stretches = found.is_event.shape
        begin, end = self._between(found.file, found.onset_s, found.offset_s)
        is_event = found.is_event.reshape(n_onsets * n_durations, n_stretches)
        begin, end = np.repeat(begin, n_durations, axis=0), np.broadcast_to(end, is_event.shape)
        covered = self._covered(begin, end, is_event)
        hits = np.count_nonzero(covered & self.are_true(truth), axis=1)
        n_found = np.count_nonzero(covered, axis=1)
        return hits.reshape(n_onsets, n_durations), n_found.reshape(n_onsets, n_durations)

    def _between(self, file: Ints, onset_s: Floats, offset_s: Floats) -> tuple[Ints, Ints]:
        begin = self._first[file] + np.floor(onset_s / _SEGMENT_S).astype(np.int64)
        end = self._first[file] + np.ceil(offset_s / _SEGMENT_S).astype(np.int64)
        return np.minimum(begin, self._end[file]), np.minimum(end, self._end[file])

    def _covered(self, begin: Ints, end: Ints, is_event: Flags) -> Flags:
        """Seconds in ``[begin, end)`` of an event: all ``[X, Q]``, the answer ``[X, S]``."""
        change = np.zeros((len(begin), self._n_seconds + 1), np.int32)
        setting, event = np.nonzero(is_event)
        np.add.at(change, (setting, begin[setting, event]), 1)
        np.add.at(change, (setting, end[setting, event]), -1)
        return np.cumsum(change[:, :-1], axis=1) > 0


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
