"""Sounds that machines make to be noticed: tones with a pattern."""

import numpy as np

from earmark.synthesis.shaping import Audio, Curve, Take, convolve, equalise, harmonics


def siren(take: Take) -> Audio:
    """An emergency vehicle or an air raid siren: wail, yelp, hi-lo, or wail that turns into yelp."""
    pattern = (_wail, _yelp, _hi_lo, _wail_then_yelp, _motor)[int(take.rng.integers(5))]
    drift = 1 + take.wander(0.02, 0.4)  # it drives towards or past the listener
    hz = pattern(take) * drift
    count = int(take.rng.integers(4, 16))
    slope = take.rng.uniform(0.6, 2.0)
    amplitude = np.arange(1, count + 1) ** -slope * take.rng.uniform(0.4, 1.0, count)
    if take.chance(0.4):
        amplitude[1::2] *= 0.15  # a square wave's spectrum
    tone = harmonics(np.cumsum(hz) / take.sample_rate_hz, amplitude, hz, take.sample_rate_hz)
    level_db = take.wander(3.0, 0.5)
    horn_hz, sharpness = take.between(600, 2000), take.between(0.4, 1.2)

    def horn(at_hz: Curve) -> Curve:
        octaves = np.log2(np.maximum(at_hz, 20) / horn_hz)
        return 0.05 + np.exp(-((octaves * sharpness) ** 2))

    return equalise(tone, horn, take.sample_rate_hz) * (10 ** (level_db / 20)).astype(np.float32)


def clock_alarm(take: Take) -> Audio:
    """An alarm clock: groups of digital beeps, or a clapper between two bells."""
    return _bells(take) if take.chance(0.25) else _beeps(take)


def _wail(take: Take) -> Curve:
    return _sweep(take, take.between(1.5, 9.0))


def _yelp(take: Take) -> Curve:
    return _sweep(take, take.between(0.18, 0.5))


def _sweep(take: Take, period_s: float) -> Curve:
    """Hz that rise and fall, the rise taking its own share of the period."""
    low_hz = take.between(350, 750)
    high_hz = low_hz * take.between(1.7, 2.8)
    rise = take.rng.uniform(0.3, 0.7)
    phase = (take.times_s() / period_s + take.rng.random()) % 1.0
    height = np.where(phase < rise, phase / rise, (1 - phase) / (1 - rise))
    height = height ** take.between(0.6, 1.4)
    return low_hz * (high_hz / low_hz) ** height


def _hi_lo(take: Take) -> Curve:
    low_hz, ratio, half_period_s = take.between(380, 900), take.between(1.2, 1.5), take.between(0.3, 0.8)
    high = np.floor(take.times_s() / half_period_s + take.rng.random()) % 2
    glide = np.ones(max(1, int(0.01 * take.sample_rate_hz)))  # no horn jumps without a glide
    start = np.full(len(glide) - 1, high[0])
    high = np.convolve(np.concatenate([start, high]), glide / len(glide), "valid")
    return low_hz * ratio**high


def _wail_then_yelp(take: Take) -> Curve:
    turn = take.rng.uniform(0.3, 0.7) * take.duration_s
    return np.where(take.times_s() < turn, _wail(take), _yelp(take))


def _motor(take: Take) -> Curve:
    """A rotor that spins up and coasts down."""
    top_hz, period_s = take.between(420, 900), take.between(3.0, 9.0)
    phase = take.times_s() / period_s + take.rng.random()
    return top_hz * (0.72 + 0.28 * np.sin(2 * np.pi * phase))


def _beeps(take: Take) -> Audio:
    gate = _beep_gate(take)
    hz = take.between(350, 700) if take.chance(0.2) else take.between(900, 3600)
    count = int(take.rng.integers(1, 9))
    amplitude = np.arange(1, count + 1) ** -take.rng.uniform(0.7, 2.0) * take.rng.uniform(0.3, 1.0, count)
    amplitude[0] = 1.0
    if take.chance(0.6):
        amplitude[1::2] *= 0.1
    times = take.times_s()
    pitch = np.full(take.length, hz)
    if take.chance(0.2):  # a warble between two pitches
        pitch *= np.where((times * take.between(6, 24)) % 1 < 0.5, 1.0, take.between(1.1, 1.5))
    tone = harmonics(np.cumsum(pitch) / take.sample_rate_hz, amplitude, pitch, take.sample_rate_hz)
    return tone * gate


def _beep_gate(take: Take) -> Audio:
    """0 to 1: beeps in groups, the first from the start and the last up to the very end."""
    beep_s, share, group = take.between(0.05, 0.35), take.rng.uniform(0.4, 0.7), int(take.rng.integers(1, 6))
    step_s = beep_s / share
    pause_s = 0.0 if take.chance(0.35) else take.between(0.15, 0.6)
    count = max(1, int(take.duration_s / step_s))
    starts = np.arange(count) * step_s + (np.arange(count) // group) * pause_s
    starts = starts[starts + beep_s <= take.duration_s]
    if len(starts) == 0:
        return np.ones(take.length, np.float32)
    stretch = take.duration_s / (starts[-1] + beep_s)
    place = take.times_s() / stretch
    since = place - starts[np.searchsorted(starts, place, "right") - 1]
    edge_s = take.between(0.001, 0.008)
    return np.clip(np.minimum(since, beep_s - since) / edge_s, 0, 1).astype(np.float32)


def _bells(take: Take) -> Audio:
    strikes_hz, base_hz = take.between(10, 28), take.between(900, 2600)
    times = np.cumsum(np.full(int(take.duration_s * strikes_hz) + 1, 1 / strikes_hz)) - 1 / strikes_hz
    times = times + take.rng.normal(0, 0.003, len(times)).clip(0.0)
    ring = np.zeros(take.length, np.float32)
    for bell in range(2):
        count = int(take.rng.integers(6, 12))
        hz = base_hz * take.between(0.9, 1.15) * np.sort(take.rng.uniform(1.0, 6.0, count))
        kernel = take.modes(hz, take.rng.uniform(0.1, 0.7, count), take.rng.uniform(0.2, 1.0, count))
        own = times[bell::2]
        ring += convolve(take.pulses(own, take.rng.uniform(0.6, 1.0, len(own))), kernel)
    return ring
