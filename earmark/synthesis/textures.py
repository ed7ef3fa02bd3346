"""Sounds without a beginning of their own: rain, an idling engine, a helicopter."""

import numpy as np

from earmark.synthesis.shaping import Audio, Curve, Take, convolve, harmonics


def rain(take: Take) -> Audio:
    """Drops beyond counting as shaped noise, and the near ones one by one."""
    swell = (10 ** (take.wander(1.0, 1.5) / 20)).astype(np.float32)
    wash = take.band_noise(take.between(80, 1500), take.between(2500, 7900), take.rng.uniform(-3.0, 2.0)) * swell
    near = np.zeros(take.length, np.float32)
    for _ in range(3):  # three surfaces to fall on
        hz = take.between(500, 5500) * take.rng.uniform(0.7, 1.5, 4)
        kernel = take.modes(hz, take.rng.uniform(0.002, 0.015, 4), take.rng.uniform(0.2, 1.0, 4))
        count = take.rng.poisson(take.duration_s * take.between(15, 1500))
        size = take.rng.lognormal(0.0, 0.9, count)
        near += convolve(take.pulses(take.rng.uniform(0, take.duration_s, count), size), kernel)
    near /= np.sqrt(np.mean(near**2)) + np.float32(1e-9)
    return wash + near * take.level(0.1, 1.0)


def engine(take: Take) -> Audio:
    """A combustion engine that idles, sometimes with a touch of throttle: uneven firings through an exhaust."""
    throttle = take.wander(0.25, 0.7).clip(-0.2, 1.0) if take.chance(0.3) else take.wander(0.02, 3.0)
    fired_hz = take.between(14, 95) * (1 + throttle)
    phase = np.cumsum(fired_hz) / take.sample_rate_hz
    cylinders = int(take.rng.choice([1, 2, 3, 4, 6, 8]))
    count = int(phase[-1]) + 1
    times = np.interp(np.arange(count), phase, take.times_s())
    times = times + take.rng.normal(0, take.between(0.005, 0.06), count) / fired_hz.mean()
    level = np.resize(take.rng.uniform(0.5, 1.0, cylinders), count) * take.rng.uniform(0.75, 1.0, count)
    firings = take.pulses(times, level)
    hz = np.concatenate([take.between(40, 130) * np.array([1.0, 2.1, 3.3]), take.rng.uniform(200, 2500, 12)])
    decay_s = np.minimum(take.rng.uniform(0.02, 0.12, len(hz)), 12 / hz)
    pipe = take.modes(hz, decay_s, (hz / 100) ** -take.rng.uniform(0.4, 1.4))
    exhaust = _unit(convolve(firings, pipe))
    puff = _unit(convolve(firings, _decay(take, take.between(0.008, 0.05))))
    hiss = take.band_noise(take.between(150, 900), take.between(1500, 6500), -3) * puff
    rumble = take.band_noise(30, take.between(120, 400), -3)
    rattle = _unit(_valves(take, phase))
    mix = exhaust + hiss * take.level(0.08, 0.7) + rumble * take.level(0.1, 0.8) + rattle * take.level(0.02, 0.3)
    return mix.astype(np.float32, copy=False)


def helicopter(take: Take) -> Audio:
    """Rotor blades that chop the air, a low thump with each, and a turbine."""
    blade_hz = take.between(8.5, 24) * (1 + take.wander(0.01, 1.0))
    phase = np.cumsum(blade_hz) / take.sample_rate_hz + 0.5
    blades = take.rng.uniform(0.7, 1.0, int(take.rng.integers(2, 6)))
    gain = np.resize(blades, int(phase[-1]) + 1)[phase.astype(np.int64)]
    width, floor = take.between(0.08, 0.28), take.between(0.05, 0.9)
    chop = (floor + gain * np.exp(-(((phase % 1.0 - 0.5) / width) ** 2))).astype(np.float32)
    air = take.band_noise(take.between(40, 300), take.between(600, 4000), -take.rng.uniform(1.0, 5.0)) * chop
    times = np.interp(np.arange(1, int(phase[-1]) + 1), phase, take.times_s())
    hz = take.between(45, 140) * np.array([1.0, 1.9, 3.1, 4.4])
    kernel = take.modes(hz, take.rng.uniform(0.03, 0.1, 4), np.array([1.0, 0.7, 0.4, 0.2]))
    thump = _unit(convolve(take.pulses(times, take.rng.uniform(0.7, 1.0, len(times))), kernel))
    drift = 10 ** (take.wander(2.5, 0.5) / 20)
    whole = _unit(air) + thump * take.level(0.2, 1.5) + _turbine(take) * take.level(0.01, 0.15)
    return (whole * drift).astype(np.float32)


def _turbine(take: Take) -> Audio:
    whine = take.between(500, 4500) * (1 + take.wander(0.004, 2.0))
    return harmonics(np.cumsum(whine) / take.sample_rate_hz, np.array([1.0, 0.3]), whine, take.sample_rate_hz)


def _valves(take: Take, phase: Curve) -> Audio:
    """Small metal parts that rattle twice a firing."""
    count = int(phase[-1] * 2) + 1
    times = np.interp(np.arange(count) / 2, phase, take.times_s()) + take.rng.normal(0, 0.001, count)
    kernel = take.modes(take.rng.uniform(1200, 6500, 6), take.rng.uniform(0.003, 0.015, 6), np.ones(6))
    return convolve(take.pulses(times, take.rng.uniform(0.2, 1.0, count)), kernel)


def _decay(take: Take, seconds: float) -> Audio:
    length = max(1, int(2 * seconds * take.sample_rate_hz))
    return np.exp(np.arange(length) * np.float32(-6.91 / length)).astype(np.float32)


def _unit(audio: Audio) -> Audio:
    """The same at an RMS of 1."""
    return audio / np.float32(np.sqrt(np.mean(audio**2)) + 1e-12)
