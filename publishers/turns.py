"""How a sink that waits for somebody's server takes a batch: for a while, and what went well counts."""

import time
from collections.abc import Callable, Sequence

from earmark.contracts.errors import OutboxError
from earmark.outbox import StoredEvent
from publishers.sinks import SinkError

TURN_S = 0.5
"""After this long the worker gets to remember what was taken, and to look whether it should end."""


class Turns:
    """Takes a batch piece by piece.

    A failure behind a success waits for the next call: the success counts at once, and the worker backs off then.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: SinkError | OutboxError | None = None

    def forget(self) -> None:
        """Begin with another outbox."""
        self._held = None

    def take(self, events: Sequence[StoredEvent], take_first: Callable[[Sequence[StoredEvent]], int]) -> int:
        """Call ``take_first`` with what is left of ``events``, once at least, until half a second is over.

        Args:
            events: The batch.
            take_first: Settles its argument's first event at least, and returns the ``seq`` through which all is.

        Returns:
            The ``seq`` through which all is settled.

        Raises:
            SinkError: The first piece failed, or the one where the call before ended.
            OutboxError: So.
        """
        if self._held is not None:
            error, self._held = self._held, None
            raise error
        through, until_s = 0, self._clock() + TURN_S
        rest = events
        while rest and (not through or self._clock() < until_s):
            try:
                through = take_first(rest)
            except (SinkError, OutboxError) as error:
                if not through:
                    raise
                self._held = error
                break
            rest = [event for event in rest if event.seq > through]
        return through
