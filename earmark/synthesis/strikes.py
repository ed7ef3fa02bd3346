"""Sounds of things that are struck: church bells, a wooden door, a clock's escapement.

Strikes are placed so that the first comes at once and the last one's own decay ends where the sound ends: the onset and
the offset of the whole are then exact.
"""

import numpy as np

from earmark.synthesis.shaping import Audio, Curve, Take, convolve, equalise

_PARTIALS = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.51, 2.66, 3.01, 4.1, 5.33, 6.7, 8.2, 9.7, 11.3])
"""Partials of a minor-third bell relative to its prime (Fletcher & Rossing, The Physics of Musical Instruments)."""


def church_bells(take: Take) -> Audio:
    """One to five bells, struck in turn or against each other, each strike ringing over the next."""
    bells = int(take.rng.integers(1, 6))
    prime_hz = take.between(220, 800)
    ring_s = take.between(2.5, 9.0)
    gap_s = take.between(0.35, 2.2)
    index = np.arange(2 + int(take.duration_s / gap_s))
    times = index * gap_s + take.rng.normal(0, 0.04 * gap_s, len(index))
    times = _fit(times, take, min(1.2, 0.25 * ring_s))
    ring = np.zeros(take.length, np.float32)
    own = np.arange(len(times)) % bells if take.chance(0.6) else take.rng.integers(0, bells, len(times))
    for bell in range(bells):
        struck = times[own == bell]
        hz = prime_hz * take.between(1.0, 2.0) * _PARTIALS * take.rng.normal(1.0, 0.012, len(_PARTIALS))
        ring += convolve(take.pulses(struck, take.rng.uniform(0.6, 1.0, len(struck))), _bell(take, hz, ring_s))
    return ring


def door_wood_knock(take: Take) -> Audio:
    """Knuckles on a wooden door: groups of three to five knocks, in a room."""
    knock_s = take.between(0.12, 0.3)
    step_s, pause_s = take.between(0.1, 0.32), take.between(0.25, 0.6)
    group = int(take.rng.integers(3, 6))
    index = np.arange(2 + int(take.duration_s / step_s))
    times = index * step_s + (index // group) * pause_s + take.rng.normal(0, 0.05 * step_s, len(index))
    times = _fit(times, take, 0.6 * knock_s)
    panel_hz = take.between(80, 320)
    count = int(take.rng.integers(14, 40))
    hz = panel_hz * np.concatenate([[1.0], 1 + take.rng.exponential(4.0, count - 1)])
    decay_s = knock_s * (hz / panel_hz) ** -take.rng.uniform(0.4, 0.9)
    amplitude = (hz / panel_hz) ** -take.rng.uniform(0.5, 1.6) * take.rng.uniform(0.3, 1.0, count)
    kernel = take.modes(hz, decay_s, amplitude)
    _add_contact(take, kernel, take.between(0.01, 0.06), take.level(0.3, 2.0), take.between(400, 2500))
    return convolve(take.pulses(times, take.rng.uniform(0.5, 1.0, len(times))), kernel)


def clock_tick(take: Take) -> Audio:
    """A clock or a watch: ticks and tocks, each a few clicks of its escapement within milliseconds."""
    rate_hz = take.between(1.0, 4.5)
    tick_s = take.between(0.05, 0.2)
    times = _fit(np.arange(1, 2 + int(take.duration_s * rate_hz)) / rate_hz, take, tick_s)
    body_hz, case_hz = take.between(700, 3500), take.between(120, 500)
    ticking = np.zeros(take.length, np.float32)
    tock = take.between(0.75, 1.0)
    for side, pitch in enumerate((1.0, tock)):
        clicks = int(take.rng.integers(1, 4))
        hz = np.concatenate([body_hz * pitch * take.rng.uniform(0.4, 4.0, 20), case_hz * np.array([1.0, 2.3])])
        kernel = take.modes(hz, tick_s * take.rng.uniform(0.1, 1.0, 22) ** 2, take.rng.uniform(0.1, 1.0, 22))
        _add_contact(take, kernel, take.between(0.005, 0.04), take.level(0.1, 1.5), take.between(2000, 7000))
        own = times[side::2]
        for click_s in np.concatenate([[0.0], take.rng.uniform(0.003, 0.02, clicks - 1)]):
            level = take.between(0.3, 1.0) * take.rng.uniform(0.85, 1.0, len(own))
            ticking += convolve(take.pulses(own + click_s, level), kernel)
    return ticking + take.band_noise(300, 6000, -3) * take.level(0.0003, 0.01) * np.abs(ticking).max()


def _bell(take: Take, hz: Curve, ring_s: float) -> Audio:
    """One strike: partials in pairs that beat, the high ones short."""
    decay_s = ring_s * (hz / hz[0]) ** -take.rng.uniform(0.35, 0.8)
    amplitude = take.rng.uniform(0.2, 1.0, len(hz)) * (hz / hz[0]) ** -take.rng.uniform(0.0, 0.7)
    beat = take.rng.uniform(0.3, 2.0, len(hz))
    pair_hz = np.concatenate([hz, hz + beat])
    pair_amplitude = np.concatenate([amplitude, amplitude * take.rng.uniform(0.1, 0.6, len(hz))])
    kernel = take.modes(pair_hz, np.concatenate([decay_s, decay_s]), pair_amplitude)
    _add_contact(take, kernel, 0.02, take.level(0.05, 0.5), take.between(3000, 9000))
    return kernel


def _add_contact(take: Take, kernel: Audio, decay_s: float, level: np.float32, high_hz: float) -> None:
    """Add the contact's own noise, dull above ``high_hz`` and gone after ``decay_s``, to a strike, in place."""
    length = min(len(kernel), max(1, int(decay_s * take.sample_rate_hz)))
    fall = np.exp(np.arange(length) * (-6.91 / length)).astype(np.float32)
    burst = take.rng.standard_normal(length, dtype=np.float32)
    burst = equalise(burst, lambda hz: 1 / (1 + (hz / high_hz) ** 2), take.sample_rate_hz)
    kernel[:length] += burst * fall * level


def _fit(times_s: Curve, take: Take, tail_s: float) -> Curve:
    """Stretch strikes so that the first comes at 2 ms and the last ``tail_s`` before the end.

    Args:
        times_s: When strikes would come if the sound never ended, nearly sorted, float64 ``[K]``.
        take: The sound that they must fit into.
        tail_s: How long one strike is heard; a sound shorter than this holds one strike.

    Returns:
        Sorted seconds, float64 ``[K']``, at least one.
    """
    times_s = np.sort(times_s) - np.min(times_s)
    last_s = take.duration_s - tail_s
    if last_s < 0.5 * times_s[1 if len(times_s) > 1 else 0]:
        return np.array([0.002])
    kept = times_s[: max(2, int(np.searchsorted(times_s, last_s, "right")))]
    return 0.002 + kept * ((last_s - 0.002) / kept[-1]) if len(kept) > 1 else np.array([0.002])
