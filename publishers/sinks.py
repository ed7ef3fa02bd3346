"""What a sink is: a place where events go, one file of this folder each."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from earmark.contracts.errors import EarmarkError
from earmark.outbox import OutboxReader, StoredEvent


class SinkError(EarmarkError):
    """A sink could not take events; the same ones are tried again, ``wait_s`` later at the earliest."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Sink(Protocol):
    """Driven by one `publishers.worker.Worker`, in its thread."""

    @property
    def name(self) -> str:
        """Names the sink's cursor and its metrics."""
        ...

    def resume(self, outbox: OutboxReader, cursor: int) -> int:
        """Begin with an outbox, at the start or when its file was replaced.

        Args:
            outbox: The outbox; borrowed.
            cursor: The last ``seq`` that is known to be taken.

        Returns:
            The last ``seq`` that really was, where the sink knows better than its cursor.

        Raises:
            SinkError: It cannot begin yet.
        """
        ...

    def publish(self, events: Sequence[StoredEvent]) -> int | None:
        """Take events. Repeated with the same first event until it does not raise; never blocks for long.

        Returns:
            The ``seq`` through which they were taken, at least the first one's; None for all. The rest comes again.

        Raises:
            SinkError: Not all could be taken.
            UnreadableEventError: Another release wrote one of them, and this call took nothing. Those before it come
                again, and once it is the first it is skipped.
        """
        ...

    def tick(self, seq: int) -> None:
        """Told at least every half second, with the ``seq`` through which events were taken."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


@runtime_checkable
class Interruptible(Protocol):
    """A sink that may wait for somebody else longer than stopping may take."""

    def interrupt(self) -> None:
        """Raise `SinkError` out of what it is at, and from then on. Called by another thread."""
        ...
