"""When a sound is there: what turns a trimmed recording into exact frame labels.

A sound is active from its first to its last 10 ms frame within 30 dB of its peak; a pause over 0.5 s splits it.
"""

import numpy as np
from numpy.typing import NDArray

TICK_S = 0.01
"""Labels are found, and events are placed, on a grid of this step."""

Audio = NDArray[np.float32]
Active = NDArray[np.bool_]


def active_ticks(audio: Audio, tick: int, *, floor_db: float = 30.0, max_pause_s: float = 0.5) -> Active:
    """Where ``audio`` is within ``floor_db`` of its loudest tick, short pauses filled.

    Args:
        audio: float32 ``[n]``; borrowed. A last piece shorter than a tick counts as one.
        tick: Samples of `TICK_S`.
        floor_db: How far below the loudest tick a sound still counts.
        max_pause_s: A pause up to this long belongs to the sound.

    Returns:
        bool ``[ceil(n / tick)]``; all False for digital silence.
    """
    padded = np.pad(audio, (0, -len(audio) % tick))
    power = np.square(padded).reshape(-1, tick).sum(axis=1)
    if not len(power) or not power.max():
        return np.zeros(len(power), bool)
    return fill_pauses(power >= power.max() * 10 ** (-floor_db / 10), round(max_pause_s / TICK_S))


def fill_pauses(active: Active, max_ticks: int) -> Active:
    """``active`` with every inner run of up to ``max_ticks`` False set; a copy."""
    filled = active.copy()
    where = np.flatnonzero(active)
    lengths = np.diff(where) - 1
    for place in np.flatnonzero((lengths > 0) & (lengths <= max_ticks)):
        filled[where[place] : where[place + 1]] = True
    return filled


def region_ticks(regions: tuple[tuple[float, float], ...], n_ticks: int) -> Active:
    """Annotated regions, in seconds, as ticks: bool ``[n_ticks]``."""
    active = np.zeros(n_ticks, bool)
    for onset_s, offset_s in regions:
        active[round(onset_s / TICK_S) : round(offset_s / TICK_S)] = True
    return active


def level(audio: Audio, active: Active, tick: int) -> float:
    """Root mean square of the active ticks; 0 where there is none."""
    samples = audio[np.repeat(active, tick)[: len(audio)]]
    return float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0
