"""Scores become events: per class a median, two thresholds, a minimum duration and a minimum gap. Causal.

A frame's smoothed score is the median of ``median_frames`` scores around it, so it is known half of them later and
stamped back; so is the bundle's own delay. An event is where a class's smoothed score stays at ``offset_threshold``
or above and reaches ``onset_threshold`` in between (double threshold; Dinkel et al., 2021): a sound is there before it
is clear which one it is. So its onset lies before it is told of, by `ONSET_REACH_S` at most. It is told of once it has
lasted ``min_duration_s``, and has ended once it was away for ``min_gap_s``: at the begin of that gap. Shorter gaps
belong to the event, shorter events are dropped. Means and peaks are of the frames since it reached the threshold.

Which of the last scores reached a threshold is kept as bits for all slots and classes at once: how many of them do
tells whether the median does. It is computed, and the rest done, only for the few classes that reached the upper one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from earmark.contracts.bundle import BundleSpec, Smoothing
from earmark.contracts.clock import NS
from earmark.contracts.errors import OutboxError
from engine.buffers import Slots
from engine.runtimes import Scores

ONSET_REACH_S = 1.0
"""How far an event's onset can lie before its score reached ``onset_threshold``."""
_IDLE, _UNCONFIRMED, _OPEN, _RISING = 0, 1, 2, 3
"""Rising: at the lower threshold, but not yet at the upper one. The numbers are in checkpoints."""
CHECKPOINT_FORMAT = 3
"""Of what `Smoother.save` gives; higher whenever its bytes change."""
_LONGEST_MEDIAN = 25
"""As `Smoothing.median_frames` allows; its frames are the bits of a number."""
_LOOKBACK = 4
"""Frames that are always remembered; a bundle with a median of more than 5 makes them more."""
_MOST_FRAMES = 1 << 30
"""What lasts longer, 1.4 years at 40 ms a frame, counts half of what it has had, so that its means go on."""
_NO_LIMIT = np.iinfo(np.int64).max
"""Samples: where ``max_unproven_s`` is None."""
_BEFORE = -1.0
"""Power of a frame before the first one, of which a delayed score may tell."""
_CLASS_STATE = np.dtype(
    [
        ("phase", "<i4"),
        ("n_frames", "<i4"),
        ("onset", "<i8"),
        ("onset_ns", "<i8"),
        ("gap", "<i8"),
        ("proven", "<i8"),
        ("peak", "<f8"),
        ("score_sum", "<f8"),
        ("power_sum", "<f8"),
        ("gap_frames", "<i8"),
        ("gap_score_sum", "<f8"),
        ("gap_power_sum", "<f8"),
    ]
)
"""What is remembered of a class, checkpoints too.

``gap`` is the first sample of the gap that it is in, -1 for none; ``proven`` is the first sample after the last frame
that reached the upper threshold.
"""
_State: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.void]]


@dataclass(frozen=True)
class Transition:
    """A class of a stream began or ended. ``offset`` is None where it began; powers are mean squares."""

    slot: int
    label: str
    onset: int
    onset_ns: int
    offset: int | None
    decided: int
    score_peak: float
    score_mean: float
    power: float


class _Header(BaseModel):
    """The first line of a checkpoint."""

    format: int
    active: list[str]
    """Labels that are not idle."""
    near: list[str]
    """Other labels whose scores are kept."""


class _Saved(NamedTuple):
    """A checkpoint: its labels, the states of those that are not idle, and the bytes of powers and scores."""

    header: _Header
    states: _State
    frames: bytes


class Smoother:
    """The smoothing state of every slot.

    Args:
        spec: Gives the classes, the output hop and how each class is smoothed.
    """

    _PER_SLOT = (
        "_history",
        "_powers",
        "_next",
        "_reached_offset",
        "_reached_onset",
        "_state",
        "_is_busy",
        "_is_begun",
        "_onset_threshold",
        "_offset_threshold",
        "_min_duration",
        "_min_gap",
        "_max_unproven",
        "_anchor",
    )

    def __init__(self, spec: BundleSpec) -> None:
        self._labels = spec.event_labels
        self._rate = spec.sample_rate_hz
        self._hop = spec.output_hop
        self._reach = round(ONSET_REACH_S * spec.sample_rate_hz) // spec.output_hop * spec.output_hop
        self._bundle_smoothing = [spec.smoothing_of(label) for label in self._labels]
        half = np.array([smoothing.median_frames // 2 for smoothing in self._bundle_smoothing])
        self._half = half.astype(np.uint8)
        self._delay = half + spec.delay_frames
        self._lookback = max(_LOOKBACK, 2 * int(half.max()), int(self._delay.max()))
        n_classes = len(self._labels)
        self._length = self._lookback + 1
        self._history = np.zeros((0, self._length, n_classes), np.float32)
        self._powers = np.zeros((0, self._length), np.float64)
        self._next = np.zeros(0, np.int64)
        self._in_median = ((1 << (2 * half + 1)) - 1).astype(np.uint32)
        self._reached_offset = np.zeros((0, n_classes), np.uint32)
        self._reached_onset = np.zeros((0, n_classes), np.uint32)
        self._state: _State = np.zeros((0, n_classes), _CLASS_STATE)
        self._is_busy = np.zeros((0, n_classes), bool)
        self._is_begun = np.zeros((0, n_classes), bool)
        self._onset_threshold = np.zeros((0, n_classes), np.float32)
        self._offset_threshold = np.zeros((0, n_classes), np.float32)
        self._min_duration = np.zeros((0, n_classes), np.int64)
        self._min_gap = np.zeros((0, n_classes), np.int64)
        self._max_unproven = np.zeros((0, n_classes), np.int64)
        self._anchor = np.zeros((0, 2), np.int64)

    def grow(self, n_slots: int) -> None:
        """Make room for ``n_slots`` slots."""
        for name in self._PER_SLOT:
            old = getattr(self, name)
            new = np.zeros((n_slots, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)

    def configure(self, slot: int, smoothing: Mapping[str, Smoothing]) -> None:
        """Set how a slot's classes are smoothed, and clear it. Labels not in ``smoothing`` are as the bundle says."""
        for index, (label, default) in enumerate(zip(self._labels, self._bundle_smoothing, strict=True)):
            chosen = smoothing.get(label, default)
            self._onset_threshold[slot, index] = chosen.onset_threshold
            self._offset_threshold[slot, index] = chosen.offset_threshold
            self._min_duration[slot, index] = round(chosen.min_duration_s * self._rate)
            self._min_gap[slot, index] = round(chosen.min_gap_s * self._rate)
            limit_s = chosen.max_unproven_s
            self._max_unproven[slot, index] = _NO_LIMIT if limit_s is None else round(limit_s * self._rate)
        self.clear(slot)

    def reconfigure(self, slot: int, smoothing: Mapping[str, Smoothing]) -> None:
        """Smooth a slot's classes otherwise from the next frame on, as if its checkpoint had been taken up so."""
        saved = self.save(slot)
        self.configure(slot, smoothing)
        self.restore(slot, saved)

    def clear(self, slot: int) -> None:
        """Forget the history and every class's state: no onset will be stamped before the next frame."""
        self._history[slot] = 0
        self._powers[slot] = _BEFORE
        self._next[slot] = 0
        self._reached_offset[slot] = self._reached_onset[slot] = 0
        self._state[slot] = 0
        self._is_busy[slot] = self._is_begun[slot] = False

    def set_anchors(self, slots: Slots, samples: NDArray[np.int64], utc_ns: NDArray[np.int64]) -> None:
        """Note the UTC of a sample of each slot, all int64 ``[K]``; onsets are dated from the newest one."""
        self._anchor[slots, 0], self._anchor[slots, 1] = samples, utc_ns

    def utc_ns(self, slot: int, sample: int) -> int:
        """UTC of a sample of a slot, nanoseconds since 1970."""
        known, known_ns = self._anchor[slot].tolist()
        return known_ns + (sample - known) * NS // self._rate

    def update(
        self, slots: Slots, position: NDArray[np.int64], scores: Scores, powers: NDArray[np.float64]
    ) -> list[Transition]:
        """Take the next frames of some slots.

        Args:
            slots: int64 ``[B]``, distinct.
            position: int64 ``[B]``: first sample of each slot's first frame.
            scores: float32 ``[B, T, C]``.
            powers: float64 ``[B, T]``: mean square of each frame's output hop.

        Returns:
            What began and ended, by time.
        """
        moved: list[Transition] = []
        for frame in range(scores.shape[1]):
            place, is_high, begins = self._push(slots, scores[:, frame], powers[:, frame])
            stirring = (is_high | self._is_busy[slots]).reshape(-1)  # on two axes `nonzero` takes ten times as long
            row, label = np.divmod(stirring.nonzero()[0], len(self._labels))
            power = self._powers[slots[row], (place[row] - self._delay[label]) % self._length]
            known = power != _BEFORE
            row, label, power = row[known], label[known], power[known]
            start = position[row] + (frame - self._delay[label]) * self._hop
            full = begins[row, label] | self._is_begun[slots[row], label]
            if not full.all():
                rest, rest_label = row[~full], label[~full]
                self._rise(slots[rest], rest_label, is_high[rest, rest_label], start[~full])
            if full.any():
                row, label = row[full], label[full]
                score = self._medians(slots[row], label, place[row])
                moved += self._frame(slots[row], label, score, start[full], power[full])
        return moved

    def _push(
        self, slots: Slots, scores: NDArray[np.float32], powers: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Add a frame to each slot's history.

        Returns:
            Its places there, int64 ``[B]``, and where the median reaches the lower and the upper threshold, ``[B, C]``.
        """
        place = self._next[slots]
        self._history[slots, place] = scores
        self._powers[slots, place] = powers
        self._next[slots] = (place + 1) % self._length
        is_high = self._median_reaches(self._offset_threshold, self._reached_offset, slots, scores)
        begins = self._median_reaches(self._onset_threshold, self._reached_onset, slots, scores)
        return place, is_high, begins

    def _median_reaches(
        self, thresholds: NDArray[np.float32], reached: NDArray[np.uint32], slots: Slots, scores: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Note which scores reach a threshold; where most of what a median sees does, and so the median, ``[B, C]``."""
        bits = reached.take(slots, axis=0)  # takes half the time of `reached[slots]`
        bits <<= 1
        bits |= scores >= thresholds.take(slots, axis=0)
        reached[slots] = bits
        return np.bitwise_count(bits & self._in_median) > self._half

    def _medians(self, slots: Slots, label: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.float32]:
        """The medians of K classes, each of which ends at a place of its slot's history, float32 ``[K]``.

        All are as long as the longest of them, shorter ones with as many lowest as highest numbers.
        """
        half = self._half[label]
        longest = int(half.max())
        ago = np.arange(2 * longest + 1)
        frames = slots[:, None] * self._length + (place[:, None] - ago) % self._length
        windows = self._history.reshape(-1).take(frames * len(self._labels) + label[:, None])
        filling = np.where(ago % 2, np.float32(np.inf), np.float32(-np.inf))
        return np.partition(np.where(ago > 2 * half[:, None], filling, windows), longest, axis=1)[:, longest]

    def _rise(
        self, slots: Slots, labels: NDArray[np.int64], is_high: NDArray[np.bool_], start: NDArray[np.int64]
    ) -> None:
        """Advance K classes that are below the upper threshold: remember since when they are at the lower one."""
        phase, onset, gap = self._state["phase"], self._state["onset"], self._state["gap"]
        is_new = ~self._is_busy[slots, labels]
        onset[slots[is_new], labels[is_new]] = start[is_new]
        away = np.where(is_new, -1, gap[slots, labels])
        away = np.where(is_high, -1, np.where(away < 0, start, away))
        is_over = ~is_high & (start + self._hop - away >= self._min_gap[slots, labels])
        gap[slots, labels] = away
        phase[slots, labels] = np.where(is_over, _IDLE, _RISING)
        self._is_busy[slots, labels] = ~is_over

    def _frame(
        self,
        slots: Slots,
        labels: NDArray[np.int64],
        score: NDArray[np.float32],
        start: NDArray[np.int64],
        power: NDArray[np.float64],
    ) -> list[Transition]:
        """Advance K classes that reach the upper threshold, or did, by one frame; all arguments are ``[K]``."""
        state = self._state[slots, labels]
        self._begin(state, slots, start)
        end = start + self._hop
        np.copyto(state["proven"], end, where=score >= self._onset_threshold[slots, labels])
        stays = score >= self._offset_threshold[slots, labels]
        stays &= end - state["proven"] <= self._max_unproven[slots, labels]
        _extend(state, stays, score, power)
        _open_gap(state, ~stays, score, power, start)
        is_confirmed = (
            (state["phase"] == _UNCONFIRMED) & stays & (end - state["onset"] >= self._min_duration[slots, labels])
        )
        state["phase"][is_confirmed] = _OPEN
        is_over = ~stays & (end - state["gap"] >= self._min_gap[slots, labels])
        has_ended = is_over & (state["phase"] == _OPEN)
        moved = [
            self._transition(slots[k], labels[k], state[k], int(end[k]), ended=bool(has_ended[k]))
            for k in np.flatnonzero(is_confirmed | has_ended)
        ]
        state[is_over] = np.zeros((), _CLASS_STATE)
        self._state[slots, labels] = state
        self._is_busy[slots, labels] = self._is_begun[slots, labels] = state["phase"] != _IDLE
        return moved

    def _begin(self, state: _State, slots: Slots, start: NDArray[np.int64]) -> None:
        """Begin the events of those that have none yet, where they reached the lower threshold."""
        begins = (state["phase"] == _IDLE) | (state["phase"] == _RISING)
        if not begins.any():
            return
        since = np.where(state["phase"] == _RISING, state["onset"], start)[begins]
        onset = np.maximum(since, start[begins] - self._reach)
        anchor = self._anchor[slots[begins]]
        begun = np.zeros(len(onset), _CLASS_STATE)
        begun["phase"], begun["gap"], begun["onset"] = _UNCONFIRMED, -1, onset
        begun["onset_ns"] = anchor[:, 1] + (onset - anchor[:, 0]) * NS // self._rate
        state[begins] = begun

    def _transition(self, slot: int, label: int, state: np.void, decided: int, *, ended: bool) -> Transition:
        decided += int(self._delay[label]) * self._hop
        return _told(int(slot), self._labels[label], state, int(state["gap"]) if ended else None, decided)

    def so_far(self, slot: int, label: str, decided: int) -> Transition:
        """An event that is open, as if its onset were told at ``decided``."""
        return _told(slot, label, self._state[slot, self._labels.index(label)], None, decided)

    def save(self, slot: int) -> bytes:
        """A slot's state as bytes: every class that is not idle, and the last scores of those that matter, by name.

        Those of an idle class matter if one that its next median sees has reached the lower threshold; no event can
        tell the others from zeros (``docs/adr/0025-checkpoint-only-scores-near-events.md``).
        """
        is_active = self._is_busy[slot]
        is_reached = (self._reached_offset[slot] & (self._in_median >> 1)) != 0
        active: list[int] = is_active.nonzero()[0].tolist()
        near: list[int] = (is_reached & ~is_active).nonzero()[0].tolist()
        newest = (self._next[slot] + np.arange(1, self._length)) % self._length
        header = _Header(
            format=CHECKPOINT_FORMAT,
            active=[self._labels[index] for index in active],
            near=[self._labels[index] for index in near],
        )
        return b"".join(
            [
                header.model_dump_json().encode() + b"\n",
                self._state[slot, active].tobytes(),
                self._powers[slot, newest].tobytes(),
                self._history[slot].take(newest, axis=0)[:, active + near].tobytes(),
            ]
        )

    def restore(self, slot: int, saved: bytes) -> None:
        """Undo `save`, by a smoother of the same bundle.

        Raises:
            OutboxError: The bytes are another bundle's or damaged.
        """
        header, states, frames = _read(saved)
        labels = [*header.active, *header.near]
        known = set(labels) & set(self._labels)
        if len(known) < len(labels) or len(frames) != self._lookback * (8 + 4 * len(labels)):
            raise OutboxError(
                f"expected a checkpoint of this bundle's {len(self._labels)} classes, got {len(saved)} bytes with "
                f"{', '.join(labels) or 'none'}; delete the outbox"
            )
        places = [self._labels.index(label) for label in labels]
        powers, scores = frames[: self._lookback * 8], frames[self._lookback * 8 :]
        self.clear(slot)
        for place, state in zip(places[: len(states)], states, strict=True):
            self._state[slot, place] = state
            self._is_busy[slot, place] = True
            self._is_begun[slot, place] = state["phase"] != _RISING
        self._powers[slot, :-1] = np.frombuffer(powers)
        self._history[slot, :-1, places] = np.frombuffer(scores, np.float32).reshape(self._lookback, len(places)).T
        self._next[slot] = self._lookback
        self._reached_offset[slot] = self._as_bits(self._history[slot, :-1] >= self._offset_threshold[slot])
        self._reached_onset[slot] = self._as_bits(self._history[slot, :-1] >= self._onset_threshold[slot])

    @staticmethod
    def _as_bits(reached: NDArray[np.bool_]) -> NDArray[np.uint32]:
        """Frames ``[T, C]``, the newest last, as bits ``[C]``, the newest lowest; as many as a median has at most."""
        newest = reached[-_LONGEST_MEDIAN:]
        return (newest << np.arange(len(newest))[::-1, None]).sum(axis=0).astype(np.uint32)


def close_all(saved: bytes, slot: int, decided: int) -> list[Transition]:
    """End what is open in a saved state, of any bundle: at ``decided``, or where its gap began."""
    header, states, _ = _read(saved)
    return [
        _told(slot, label, state, int(state["gap"]) if state["gap"] >= 0 else decided, decided)
        for label, state in zip(header.active, states, strict=True)
        if state["phase"] == _OPEN
    ]


def _read(saved: bytes) -> _Saved:
    first, _, body = saved.partition(b"\n")
    try:
        said = json.loads(first)
        if (found := said.get("format")) != CHECKPOINT_FORMAT:
            raise OutboxError(
                f"expected a checkpoint of format {CHECKPOINT_FORMAT}, got {found}; run the release that wrote it"
            )
        header = _Header.model_validate(said)
        states = np.frombuffer(body, _CLASS_STATE, len(header.active))
    except (AttributeError, ValueError) as error:
        raise OutboxError(f"expected a checkpoint, got {len(saved)} other bytes; delete the outbox") from error
    return _Saved(header, states, body[states.nbytes :])


def _told(slot: int, label: str, state: np.void, offset: int | None, decided: int) -> Transition:
    n_frames = int(state["n_frames"])
    return Transition(
        slot=slot,
        label=label,
        onset=int(state["onset"]),
        onset_ns=int(state["onset_ns"]),
        offset=offset,
        decided=decided,
        score_peak=float(state["peak"]),
        score_mean=float(state["score_sum"]) / n_frames,
        power=float(state["power_sum"]) / n_frames,
    )


def _extend(state: _State, stays: NDArray[np.bool_], score: NDArray[np.float32], power: NDArray[np.float64]) -> None:
    """Add a frame, and the gap before it if there is one, to the classes that stay."""
    if (is_long := state["n_frames"] >= _MOST_FRAMES).any():
        for name in ("n_frames", "score_sum", "power_sum"):
            state[name][is_long] = state[name][is_long] / 2
    state["n_frames"] += np.where(stays, 1 + state["gap_frames"], 0).astype(np.int32)
    state["score_sum"] += np.where(stays, score + state["gap_score_sum"], 0)
    state["power_sum"] += np.where(stays, power + state["gap_power_sum"], 0)
    state["peak"] = np.maximum(state["peak"], score)
    state["gap"][stays] = -1
    for name in ("gap_frames", "gap_score_sum", "gap_power_sum"):
        state[name][stays] = 0


def _open_gap(
    state: _State,
    leaves: NDArray[np.bool_],
    score: NDArray[np.float32],
    power: NDArray[np.float64],
    start: NDArray[np.int64],
) -> None:
    """Add a frame to the gap of the classes that are away."""
    state["gap"] = np.where(leaves & (state["gap"] < 0), start, state["gap"])
    state["gap_frames"] += leaves
    state["gap_score_sum"] += np.where(leaves, score, 0)
    state["gap_power_sum"] += np.where(leaves, power, 0)
