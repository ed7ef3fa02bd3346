"""How much of the last hour was really analysed: "quiet" and "not listening" must never look the same."""

from dataclasses import dataclass

_MINUTE_S = 60
_MINUTES = 60


@dataclass
class _Minute:
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
        self._minutes: dict[int, _Minute] = {}

    def add(self, now_s: float, analysed: int, advanced: int) -> None:
        """Count ``advanced`` samples of the clock, ``analysed`` of which were heard; either may take some back."""
        minute = self._minutes.setdefault(int(now_s // _MINUTE_S), _Minute())
        minute.analysed += analysed
        minute.advanced += advanced

    def lose(self, now_s: float, n_samples: int) -> None:
        """Count samples that the stream was without until now: in the minutes in which they would have come."""
        newest = int(now_s // _MINUTE_S)
        room_s = now_s % _MINUTE_S
        for index in range(newest, newest - _MINUTES, -1):
            if n_samples <= 0:
                return
            minute = self._minutes.setdefault(index, _Minute())
            lost = min(n_samples, max(0, round(room_s * self._rate) - minute.advanced))
            minute.advanced += lost
            n_samples -= lost
            room_s = _MINUTE_S

    def ratio(self, now_s: float) -> float:
        """Share of the last hour that was analysed, 0 to 1."""
        first = int(now_s // _MINUTE_S) - _MINUTES + 1
        for index in [index for index in self._minutes if index < first]:
            del self._minutes[index]
        elapsed_s = now_s - max(self._since_s, first * _MINUTE_S)
        expected = max(sum(minute.advanced for minute in self._minutes.values()), int(elapsed_s * self._rate), 1)
        return min(1.0, sum(minute.analysed for minute in self._minutes.values()) / expected)
