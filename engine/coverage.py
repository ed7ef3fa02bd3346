"""How much of the last hour was really analysed: "quiet" and "not listening" must never look the same."""

from collections import deque
from dataclasses import dataclass

_MINUTE_S = 60
_MINUTES = 60


@dataclass
class _Minute:
    index: int
    analysed: int = 0
    advanced: int = 0


class Coverage:
    """Counts one stream's analysed samples against those that should have been.

    Those are the samples by which its clock advanced, or what the wall clock says where that is more: a stream that is
    fed faster than real time and one that has stopped are both measured right.

    Args:
        sample_rate_hz: Rate of the samples.
        now_s: Monotonic time at the stream's first block.
    """

    def __init__(self, sample_rate_hz: int, now_s: float) -> None:
        self._rate = sample_rate_hz
        self._since_s = now_s
        self._minutes: deque[_Minute] = deque()

    def add(self, now_s: float, analysed: int, advanced: int) -> None:
        """Count ``advanced`` samples of the clock, ``analysed`` of which were heard; either may take some back."""
        index = int(now_s // _MINUTE_S)
        if not self._minutes or self._minutes[-1].index != index:
            self._minutes.append(_Minute(index))
        self._minutes[-1].analysed += analysed
        self._minutes[-1].advanced += advanced

    def ratio(self, now_s: float) -> float:
        """Share of the last hour that was analysed, 0 to 1."""
        first = int(now_s // _MINUTE_S) - _MINUTES + 1
        while self._minutes and self._minutes[0].index < first:
            self._minutes.popleft()
        elapsed_s = now_s - max(self._since_s, first * _MINUTE_S)
        expected = max(sum(minute.advanced for minute in self._minutes), int(elapsed_s * self._rate), 1)
        return min(1.0, sum(minute.analysed for minute in self._minutes) / expected)
