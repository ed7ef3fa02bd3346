"""When a sound can be heard in a mix, which is what a detector can be asked to find.

`earmark.training.activity` says when a sound is there: within 30 dB of its own peak. In a mix, other sounds drown its
weaker parts, and then no listener could say when it ends. A sound is audible where all of the following hold.

1. It is active: `earmark.training.activity` or the sound's annotation says so.
2. It stands out: over a window of 100 ms, its power in at least one octave band is at most 10 dB below the power of
   everything else in that band. "Everything else" is the sum of the powers of all other sounds and the background.
   Another sound of the same class counts as something else.
3. Its mean square in that same band is at least -90 dB, where a constant signal of 1 has 0 dB. That is about the
   self-noise of a MEMS microphone.

Drop-outs of up to 0.5 s between audible parts are filled where the sound is active.

The bands are centred at 125, 250, 500, 1000, 2000, 4000 and 8000 Hz. Each spans a factor of 2 and ends at half the
sample rate at the latest; bands that would begin above that are left out. Windows have the shape of half a sine, so
that overlapping ones share out the energy without loss. A window starts every 50 ms and decides the 5 ticks of 10 ms
at its centre.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft

from earmark.training.activity import TICK_S, Active, Audio, fill_pauses

CENTRES_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
LEAST_DB = -10.0
FLOOR_DB = -90.0
MAX_PAUSE_S = 0.5
HOP_TICKS = 5
"""From one window to the next; a window is twice as long."""

Powers = NDArray[np.float32]
"""Mean square of each window in each band, float32 ``[W, B]``."""


@dataclass(frozen=True)
class PlacedSound:
    """A sound in a mix.

    Attributes:
        first_sample: Sample of the mix that it begins at.
        audio: float32 ``[n]`` in [-1, 1], at its level in the mix; ends within the mix.
    """

    first_sample: int
    audio: Audio


def audible_ticks(own: Powers, rest: Powers, active: Active) -> Active:
    """Where a sound is audible, by the rules of this module.

    Args:
        own: Powers of the sound, float32 ``[W, B]``.
        rest: Powers of everything else, float32 ``[W, B]``.
        active: Where the sound is active, bool ``[n_ticks]``, at most ``W * HOP_TICKS`` ticks.

    Returns:
        bool ``[n_ticks]``, a part of ``active``. More power in ``own`` never removes a tick, more in ``rest`` never
        adds one.
    """
    is_enough = (own >= rest * np.float32(10 ** (LEAST_DB / 10))) & (own >= np.float32(10 ** (FLOOR_DB / 10)))
    stands_out = np.repeat(is_enough.any(axis=1), HOP_TICKS)[: len(active)]
    return fill_drop_outs(stands_out & active, active)


def fill_drop_outs(audible: Active, active: Active) -> Active:
    """Audible ticks with their short drop-outs, where the sound is active; both bool ``[n_ticks]``."""
    return fill_pauses(audible, round(MAX_PAUSE_S / TICK_S)) & active


def powers_in_mix(mix: Audio, sounds: Sequence[PlacedSound], tick: int) -> list[tuple[Powers, Powers]]:
    """Powers of each sound and of everything else, as `audible_ticks` takes them.

    Args:
        mix: All of it, float32 ``[n]``: the sounds, and a background that is whatever else it contains.
        sounds: The sounds in question.
        tick: Samples of `TICK_S`.

    Returns:
        A pair for each sound, its own powers first. Their sum is the same for all sounds.
    """
    background = mix.copy()
    for sound in sounds:
        background[sound.first_sample :][: len(sound.audio)] -= sound.audio
    n_windows = -(-len(mix) // (HOP_TICKS * tick))
    own = [band_powers(sound, n_windows, tick) for sound in sounds]
    total = np.sum([band_powers(PlacedSound(0, background), n_windows, tick), *own], axis=0)
    return [(powers, np.maximum(total - powers, 0)) for powers in own]


def band_powers(sound: PlacedSound, n_windows: int, tick: int) -> Powers:
    """Powers of a sound in the windows of a mix, float32 ``[n_windows, B]``; 0 where the sound is not."""
    hop = HOP_TICKS * tick
    begin = sound.first_sample + hop // 2  # from the start of the first window, which precedes the mix by half a hop
    first, end = max(0, begin // hop - 1), min(n_windows, -(-(begin + len(sound.audio)) // hop))
    padded = np.zeros((end - first + 1) * hop, np.float32)
    padded[begin - first * hop :][: len(sound.audio)] = sound.audio[: len(padded) - (begin - first * hop)]
    spectra = fft.rfft(sliding_window_view(padded, 2 * hop)[::hop] * _half_sine(2 * hop), axis=1)
    edges = _band_edges(hop)
    powers = np.zeros((n_windows, len(edges) - 1), np.float32)
    for band, bins in enumerate(pairwise(edges)):
        parts = spectra[:, slice(*bins)].view(np.float32)  # real and imaginary parts side by side
        powers[first:end, band] = np.einsum("wk,wk->w", parts, parts)
    powers *= np.float32(1 / hop**2)
    return powers


@cache
def _half_sine(length: int) -> Audio:
    return np.sin(np.pi * (np.arange(length) + 0.5) / length).astype(np.float32)


@cache
def _band_edges(hop: int) -> tuple[int, ...]:
    """The first bin of each band, and the end of the last one; the window has ``2 * hop`` samples."""
    bin_hz = 1 / (2 * HOP_TICKS * TICK_S)
    first_bins = [round(centre_hz / math.sqrt(2) / bin_hz) for centre_hz in CENTRES_HZ]
    return (*(one for one in first_bins if one <= hop), min(hop + 1, 2 * first_bins[-1]))
