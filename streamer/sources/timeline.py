"""What a live source lost on its way here, found by the times that it gives its audio."""

from earmark.contracts.clock import NS, SampleClock, samples_to_ns

_HOLE_NS = NS // 10
"""Less is jitter and rounding, which is milliseconds (Matroska, FLV); smaller losses add up until they are told."""
LEAP_NS = 60 * NS
"""Nobody buffers so much: a source that leaps farther ahead has set its clock or plays something else."""


_CLOCK_ERROR_NS = NS
"""How far a hole may exceed the time that really passed, because networks deliver unevenly."""
_WINDOW_NS = 30 * NS
"""Longer than a burst: HLS brings segments of up to 10 s at once."""


class Timeline:
    """Follows a source's times as `SampleClock` follows UTC, and finds where audio is missing.

    Its rules fit: up to 500 ppm is the drift of the source's clock, and no loss. Times that go back by 1 s or more
    begin anew. By less they sway: what is expected stays, so that swaying makes one hole and not one each time.

    A hole cannot be longer than the time in which no audio came. Where the source's clock says more by over 1 s, that
    clock was set, and the arrival of the audio is believed instead.

    Args:
        sample_rate_hz: Rate of the audio.
        timeout_s: How long the source may be without audio, and a hole as long.
    """

    def __init__(self, sample_rate_hz: int, timeout_s: float) -> None:
        self._rate = sample_rate_hz
        self._longest_ns = max(LEAP_NS, round(timeout_s * NS))
        self._clock: SampleClock | None = None
        self._next_sample = 0
        self._delay = _LeastDelay()

    def lost_before(self, n_samples: int, time_ns: int | None, arrived_ns: int) -> int:
        """Note some audio.

        Args:
            n_samples: Its length.
            time_ns: The source's time of its first sample, from anywhere; None where it gives none.
            arrived_ns: Monotonic time when all of it was here.

        Returns:
            How many samples are missing before it.
        """
        end_ns = samples_to_ns(self._next_sample + n_samples, self._rate)
        hole_ns = 0 if time_ns is None else self._believed_ns(self._hole_ns(time_ns), arrived_ns - end_ns)
        lost = hole_ns * self._rate // NS
        if time_ns is not None:
            self._clock = self._clock or SampleClock(self._rate)
            self._clock.observe(self._next_sample + lost, time_ns)
        self._next_sample += lost + n_samples
        self._delay.note(arrived_ns - end_ns - hole_ns, hole_ns, arrived_ns)
        return lost

    def _hole_ns(self, time_ns: int) -> int:
        if self._clock is None:
            return 0
        late_ns = time_ns - self._clock.utc_ns(self._next_sample)
        return late_ns if _HOLE_NS < late_ns <= self._longest_ns else 0

    def _believed_ns(self, hole_ns: int, delay_ns: int) -> int:
        """A hole by the source's clock, or by the audio's delay before the hole where the two contradict."""
        passed_ns = self._delay.excess_ns(delay_ns)
        if hole_ns <= passed_ns + _CLOCK_ERROR_NS:
            return hole_ns
        return passed_ns if passed_ns > _CLOCK_ERROR_NS else 0


class _LeastDelay:
    """The least delay of audio in the last half minute, or minute, against its place on the sample axis.

    A tolerated hole that exceeds the time that passed would lower it. What such holes gain is left out, so that small
    leaps of a clock do not add up within a window.
    """

    def __init__(self) -> None:
        self._window_began_ns: int | None = None
        self._before_ns = self._least_ns = 0
        self._gained_ns = 0

    def excess_ns(self, delay_ns: int) -> int:
        """By how much ``delay_ns`` exceeds the least delay, nanoseconds; negative where it is below."""
        return delay_ns - min(self._least_ns, self._before_ns)

    def note(self, delay_ns: int, hole_ns: int, arrived_ns: int) -> None:
        """Note the delay, nanoseconds, of audio that arrived at ``arrived_ns`` after a hole of ``hole_ns``."""
        if self._window_began_ns is None:
            self._window_began_ns, self._before_ns, self._least_ns = arrived_ns, delay_ns, delay_ns
        elif arrived_ns - self._window_began_ns >= _WINDOW_NS:
            self._window_began_ns, self._before_ns, self._least_ns = arrived_ns, self._least_ns, delay_ns
            self._gained_ns = 0
        if hole_ns:
            self._gained_ns += max(0, min(hole_ns, -self.excess_ns(delay_ns + self._gained_ns)))
        self._least_ns = min(self._least_ns, delay_ns + self._gained_ns)
