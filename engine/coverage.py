"""How much of the last hour was really analysed: "quiet" and "not listening" must never look the same."""

from collections.abc import Sequence
from dataclasses import dataclass

from earmark.outbox.coverage import CoveredMinute

MINUTE_S = 60
MINUTES = 60


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
        stored: What an earlier engine analysed of it; it goes on there, so that the time between counts.
    """

    def __init__(self, sample_rate_hz: int, now_s: float, stored: Sequence[CoveredMinute] = ()) -> None:
        self._rate = sample_rate_hz
        self._since_s = stored[-1].since_s if stored else now_s
        self._minutes = {each.minute: _Minute(each.analysed, each.advanced) for each in stored}
        self._changed: set[int] = set()

    def add(self, now_s: float, analysed: int, advanced: int) -> None:
        """Count ``advanced`` samples of the clock, ``analysed`` of which were heard; either may take some back."""
        index = int(now_s // MINUTE_S)
        minute = self._minutes.setdefault(index, _Minute())
        self._changed.add(index)
        minute.analysed += analysed
        minute.advanced += advanced

    def lose(self, now_s: float, n_samples: int) -> None:
        """Count samples that the stream was without until now: in the minutes in which they would have come."""
        newest = int(now_s // MINUTE_S)
        room_s = now_s % MINUTE_S
        for index in range(newest, newest - MINUTES, -1):
            if n_samples <= 0:
                return
            minute = self._minutes.setdefault(index, _Minute())
            lost = min(n_samples, max(0, round(room_s * self._rate) - minute.advanced))
            minute.advanced += lost
            self._changed.add(index)
            n_samples -= lost
            room_s = MINUTE_S

    def ratio(self, now_s: float) -> float:
        """Share of the last hour, or of `span_s`, that was analysed, 0 to 1."""
        first = int(now_s // MINUTE_S) - MINUTES + 1
        for index in [index for index in self._minutes if index < first]:
            del self._minutes[index]
        expected = self._expected(now_s)
        return min(1.0, sum(minute.analysed for minute in self._minutes.values()) / expected)

    def span_s(self, now_s: float) -> float:
        """Length of what `ratio` is a share of: an hour, or less of a stream that is measured since then."""
        return min(self._expected(now_s) / self._rate, MINUTES * MINUTE_S)

    def _expected(self, now_s: float) -> int:
        first_s = (int(now_s // MINUTE_S) - MINUTES + 1) * MINUTE_S
        elapsed_s = now_s - max(self._since_s, first_s)
        return max(sum(minute.advanced for minute in self._minutes.values()), int(elapsed_s * self._rate), 1)

    def take_changed(self, stream: str) -> list[CoveredMinute]:
        """The minutes that changed since the last call, to be stored."""
        changed = [
            CoveredMinute(stream, index, self._since_s, self._minutes[index].analysed, self._minutes[index].advanced)
            for index in sorted(self._changed & self._minutes.keys())
        ]
        self._changed.clear()
        return changed
