"""The few operations that all made sounds are built from: noise, filters, modes, pulse trains and slow random curves.

Filtering happens in the frequency domain, a whole sound at once: synthesis is offline, and numpy is all there is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Audio: TypeAlias = NDArray[np.float32]
"""float32 ``[n]``, one channel."""
Curve: TypeAlias = NDArray[np.float64]
"""float64 ``[n]``, a parameter that moves with time."""

_FFT_STEP = 4096  # transform lengths are multiples of this, so that none has a large prime factor
_MODE_STEP = 256


@dataclass(frozen=True)
class Take:
    """What every recipe is given: its source of chance, its length and its rate.

    Attributes:
        rng: Every random choice of the sound comes from here; advanced in place.
        length: Samples that the sound must have.
        sample_rate_hz: Samples a second.
    """

    rng: np.random.Generator
    length: int
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.length / self.sample_rate_hz

    def times_s(self) -> Curve:
        """Seconds from the sound's start, float64 ``[length]``."""
        return np.arange(self.length) / self.sample_rate_hz

    def level(self, low: float, high: float) -> np.float32:
        """A linear gain in [low, high) as `between` draws it."""
        return np.float32(self.between(low, high))

    def between(self, low: float, high: float) -> float:
        """A number in [low, high), uniform on a logarithmic scale, as ears hear pitch and tempo; both above 0."""
        return float(low * (high / low) ** self.rng.random())

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def noise(self) -> Audio:
        """White noise of RMS 1."""
        return self.rng.standard_normal(self.length, dtype=np.float32)

    def band_noise(self, low_hz: float, high_hz: float, tilt_db: float = 0.0) -> Audio:
        """Noise of RMS 1 that falls by 12 dB an octave outside a band.

        Args:
            low_hz: Where the band begins.
            high_hz: Where it ends.
            tilt_db: Slope inside the band, dB an octave; -3 is pink.
        """

        def gain(hz: Curve) -> Curve:
            hz = np.maximum(hz, 1.0)
            return (hz / 1000) ** (tilt_db / 6.02) / ((1 + (low_hz / hz) ** 2) * (1 + (hz / high_hz) ** 2))

        shaped = equalise(self.noise(), gain, self.sample_rate_hz)
        return shaped / np.float32(np.sqrt(np.mean(shaped**2)) + 1e-12)

    def wander(self, spread: float, points_per_s: float) -> Curve:
        """A slow random curve around 0, float64 ``[length]``, standard deviation ``spread`` at its knots."""
        knots = self.rng.normal(0.0, spread, int(self.duration_s * points_per_s) + 2)
        return np.interp(self.times_s() * points_per_s, np.arange(len(knots)), knots)

    def modes(self, hz: Curve, decay_s: Curve, amplitude: Curve) -> Audio:
        """A struck body: damped sines with random phases, over once the longest has fallen by 60 dB.

        Args:
            hz: Frequency of each mode, float64 ``[M]``; those above 0.48 of the rate are left out.
            decay_s: Time in which each falls by 60 dB, float64 ``[M]``.
            amplitude: Linear, float64 ``[M]``.

        Returns:
            float32, at most ``length`` long.
        """
        hearable = hz < 0.48 * self.sample_rate_hz
        hz, decay_s, amplitude = hz[hearable], decay_s[hearable], amplitude[hearable]
        if not len(hz):
            return np.zeros(1, np.float32)
        longest = max(1, min(self.length, int(decay_s.max() * self.sample_rate_hz)))
        # The real part of a complex exponential each; exp(a (i + k)) = exp(a i) exp(a k) makes it one product.
        exponent = (-6.91 / decay_s + 2j * np.pi * hz) / self.sample_rate_hz
        start = amplitude * np.exp(2j * np.pi * self.rng.random(len(hz)))
        coarse = start * np.exp(np.outer(np.arange(0, longest, _MODE_STEP), exponent))
        fine = np.exp(np.outer(exponent, np.arange(_MODE_STEP)))
        body = coarse.astype(np.complex64) @ fine.astype(np.complex64)
        return np.ascontiguousarray(body.real.reshape(-1)[:longest], np.float32)

    def pulses(self, times_s: Curve, amplitude: Curve) -> Audio:
        """Single samples at the given times (those beyond the end are left out), float32 ``[length]``."""
        places = np.round(times_s * self.sample_rate_hz).astype(np.int64)
        inside = (places >= 0) & (places < self.length)
        return np.bincount(places[inside], amplitude[inside], self.length).astype(np.float32)


def equalise(audio: Audio, gain: Callable[[Curve], Curve], sample_rate_hz: int) -> Audio:
    """Multiply a sound's spectrum by a smooth gain without shifting it in time.

    Args:
        audio: float32 ``[n]``.
        gain: From frequencies in Hz to linear gains, each float64 ``[F]``.
        sample_rate_hz: Samples a second.

    Returns:
        float32 ``[n]``, a new array.
    """
    size = _fft_size(len(audio) + 1024)
    spectrum = np.fft.rfft(audio, size)
    spectrum *= gain(np.fft.rfftfreq(size, 1 / sample_rate_hz).astype(np.float64)).astype(np.float32)
    return np.fft.irfft(spectrum, size)[: len(audio)].astype(np.float32)


def convolve(audio: Audio, kernel: Audio) -> Audio:
    """Let a kernel answer every sample of a sound; what rings on after the sound's end is cut off. float32 ``[n]``."""
    kernel = kernel[: len(audio)]
    size = _fft_size(len(audio) + len(kernel))
    spectrum = np.fft.rfft(audio, size) * np.fft.rfft(kernel, size)
    return np.fft.irfft(spectrum, size)[: len(audio)].astype(np.float32)


def harmonics(phase: Curve, amplitude: Curve, hz: Curve, sample_rate_hz: int) -> Audio:
    """A periodic tone without aliasing.

    Args:
        phase: Cycles of the fundamental so far, float64 ``[n]``.
        amplitude: Of the first, second, ... harmonic, float64 ``[H]``.
        hz: The fundamental's frequency, float64 ``[n]``; harmonics fade out towards half the rate.
        sample_rate_hz: Samples a second.

    Returns:
        float32 ``[n]``.
    """
    turn = np.exp(2j * np.pi * (phase % 1.0)).astype(np.complex64)
    relative = (hz / (0.5 * sample_rate_hz)).astype(np.float32)
    power, tone = np.ones_like(turn), np.zeros(len(phase), np.float32)
    for order, level in enumerate(amplitude.astype(np.float32), start=1):
        power *= turn
        tone += level * np.clip((0.95 - order * relative) * 10, 0, 1) * power.imag
    return tone


def _fft_size(at_least: int) -> int:
    return -(-at_least // _FFT_STEP) * _FFT_STEP
