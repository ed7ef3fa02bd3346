"""UTC of what a live source delivers, by the times that it gives its audio and by when that came."""

from earmark.contracts.clock import MAX_OFF_NS, NS
from streamer.sources.timeline import LEAP_NS

_WINDOW_NS = 30 * NS
"""Longer than a burst: HLS brings segments of up to 10 s at once, and a network that stalled brings what it held."""


class ArrivalClock:
    """Follows one connection.

    Nothing is heard after it came, so what came with the least delay in the last half minute, or minute, tells where
    the times of the source lie in UTC. So audio that comes in bursts keeps its own pace; a wall clock that is set, or a
    source whose clock drifts, is followed.

    Args:
        sample_rate_hz: Rate of the audio.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate = sample_rate_hz
        self._end_ns: int | None = None
        self._window_began_ns = 0
        self._least_ns = self._before_ns = 0

    def captured_at_ns(self, n_samples: int, time_ns: int | None, arrived_at_ns: int) -> int:
        """UTC of the first of ``n_samples``, nanoseconds since 1970.

        Args:
            n_samples: Of the audio that came.
            time_ns: The source's time of its first sample, from anywhere; None where it gives none.
            arrived_at_ns: UTC when all of it was here.
        """
        length_ns = n_samples * NS // self._rate
        if time_ns is None:
            return arrived_at_ns - length_ns
        offset_ns = arrived_at_ns - length_ns - time_ns
        if self._end_ns is None or not -MAX_OFF_NS < time_ns - self._end_ns <= LEAP_NS:  # times begin, or anew
            self._window_began_ns, self._least_ns, self._before_ns = time_ns, offset_ns, offset_ns
        elif time_ns - self._window_began_ns >= _WINDOW_NS:
            self._window_began_ns, self._before_ns, self._least_ns = time_ns, self._least_ns, offset_ns
        self._least_ns = min(self._least_ns, offset_ns)
        self._end_ns = time_ns + length_ns
        return time_ns + min(self._least_ns, self._before_ns)
