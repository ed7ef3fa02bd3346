"""Where samples meet UTC.

Inside Earmark the sample index is the only time. A `SampleClock` ties it to UTC once and follows the wall clock from
there: gently while the two are close, by a counted new anchor when the wall clock was set.
"""

MAX_SLEW = 500e-6
MAX_OFF_NS = 1_000_000_000
NS = 1_000_000_000
CLOCK_WAS_SET_NS = 1_577_836_800 * NS
"""2020: a small computer boots in 1970, and what it keeps before its clock was set has no known age."""


def samples_to_ns(n_samples: int, sample_rate_hz: int) -> int:
    """Length of ``n_samples`` in nanoseconds, in exact integer arithmetic."""
    return n_samples * NS // sample_rate_hz


class SampleClock:
    """UTC of a stream's samples.

    The anchor moves with every observation by at most 500 ppm of the audio since the one before, while clock and
    observation differ by less than 1 s; above that it jumps, and ``jumps`` counts it.

    Args:
        sample_rate_hz: Rate of the sample index.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate = sample_rate_hz
        self._anchor: tuple[int, int] | None = None
        self.jumps = 0

    def observe(self, sample: int, utc_ns: int) -> None:
        """Note that ``sample`` was captured at ``utc_ns`` as far as the wall clock says."""
        if self._anchor is None:
            self._anchor = (sample, utc_ns)
            return
        expected_ns = self.utc_ns(sample)
        error_ns = utc_ns - expected_ns
        if abs(error_ns) >= MAX_OFF_NS:
            self.jumps += 1
            self._anchor = (sample, utc_ns)
            return
        room_ns = int(samples_to_ns(max(0, sample - self._anchor[0]), self._rate) * MAX_SLEW)
        self._anchor = (sample, expected_ns + max(-room_ns, min(room_ns, error_ns)))

    def utc_ns(self, sample: int) -> int:
        """UTC of ``sample``, nanoseconds since 1970; 0 before anything was observed."""
        if self._anchor is None:
            return 0
        anchor_sample, anchor_ns = self._anchor
        return anchor_ns + samples_to_ns(sample - anchor_sample, self._rate)
