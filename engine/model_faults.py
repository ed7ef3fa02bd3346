"""Reports models whose scores are no probabilities, without filling the log."""

import time
from collections.abc import Callable

import structlog

_AGAIN_S = 60.0

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class ModelFaults:
    """Logs faults of each stream's model, once a minute at most.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due_s: dict[str, float] = {}
        self._unreported: dict[str, int] = {}

    def report(self, stream: str, at_s: float, model: str) -> None:
        """Note that a stream's model was restarted.

        Args:
            stream: Name of the stream.
            at_s: Where the fresh row begins, seconds from the start of the epoch.
            model: What the stream's events carry as ``model``.
        """
        self._unreported[stream] = self._unreported.get(stream, 0) + 1
        if (now_s := self._clock()) < self._due_s.get(stream, now_s):
            return
        self._due_s[stream] = now_s + _AGAIN_S
        _log.error(
            "a model's scores are no probabilities; it was restarted for this stream",
            stream=stream,
            model=model,
            at_s=round(at_s, 3),
            times=self._unreported.pop(stream),
            hint="use another bundle, or export this one again",
        )
