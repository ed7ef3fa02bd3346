"""What is refused: each is counted, and named once for each sender, so that no peer can fill the log."""

import structlog

from earmark.telemetry import metrics

_MOST_SENDERS = 10_000
_EXPECTED_IN_OPERATION = frozenset({"repeated", "hole"})
"""They follow from restarts and lost messages; the protocol mends them."""

_log = structlog.get_logger()


class Refusals:
    """Counts and names refusals."""

    def __init__(self) -> None:
        self._named: set[tuple[str, str]] = set()

    def count(self, reason: str, sender: str, explanation: str, n: int = 1) -> None:
        """Count ``n`` refusals, and log them if they are this sender's first of this reason."""
        metrics.REFUSED.labels(reason).inc(n)
        if (reason, sender) in self._named or len(self._named) >= _MOST_SENDERS:
            return
        self._named.add((reason, sender))
        log = _log.info if reason in _EXPECTED_IN_OPERATION else _log.warning
        log("refused", reason=reason, sender=sender, explanation=explanation)
