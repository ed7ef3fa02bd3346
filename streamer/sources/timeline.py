"""What a live source lost on its way here, found by the times that it gives its audio."""

from earmark.contracts.clock import NS, SampleClock

_HOLE_NS = NS // 10
"""Less is jitter and rounding, which is milliseconds (Matroska, FLV); smaller losses add up until they are told."""
LEAP_NS = 60 * NS
"""Nobody buffers so much: a source that leaps farther ahead has set its clock or plays something else."""


class Timeline:
    """Follows a source's times as `SampleClock` follows UTC, and finds where audio is missing.

    Its rules fit: up to 500 ppm is the drift of the source's clock, and no loss. Times that go back by 1 s or more
    begin anew. By less they sway: what is expected stays, so that swaying makes one hole and not one each time.

    Args:
        sample_rate_hz: Rate of the audio.
        timeout_s: How long the source may be without audio, and a hole as long.
    """

    def __init__(self, sample_rate_hz: int, timeout_s: float) -> None:
        self._rate = sample_rate_hz
        self._longest_ns = max(LEAP_NS, round(timeout_s * NS))
        self._clock: SampleClock | None = None
        self._next_sample = 0

    def lost_before(self, n_samples: int, time_ns: int | None) -> int:
        """Note ``n_samples`` that begin at ``time_ns`` (None: unknown); returns how many are missing before them."""
        lost = 0 if time_ns is None else self._hole_ns(time_ns) * self._rate // NS
        if time_ns is not None:
            self._clock = self._clock or SampleClock(self._rate)
            self._clock.observe(self._next_sample + lost, time_ns)
        self._next_sample += lost + n_samples
        return lost

    def _hole_ns(self, time_ns: int) -> int:
        if self._clock is None:
            return 0
        late_ns = time_ns - self._clock.utc_ns(self._next_sample)
        return late_ns if _HOLE_NS < late_ns <= self._longest_ns else 0
