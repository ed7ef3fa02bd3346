"""What the analyser knows of one stream beside its places in the arrays."""

from collections import deque
from dataclasses import dataclass, field

from earmark.contracts.events import SoundEvent

NO_SAMPLE = -1


@dataclass
class Stream:
    """One epoch of one stream.

    Attributes:
        name: Its name.
        slot: Its place in the arrays.
        epoch: Run of its streamer.
        revision: What the outbox holds of it as far as this engine knows.
        needed: The next sample that should arrive.
        gap_start: First sample of the gap that arrived last, -1 when audio did.
        resend_from: What to ask the streamer for; -1 when nothing is missing.
        keep_sample: Everything before it is committed.
        end: End of the epoch, once it is known.
        events: Decided, not yet committed.
        retired: Epochs that the next commit ends for good.
        arrivals: End and monotonic arrival of each block that is not wholly decided.
    """

    name: str
    slot: int
    epoch: int
    revision: int
    needed: int = 0
    gap_start: int = NO_SAMPLE
    resend_from: int = NO_SAMPLE
    keep_sample: int = 0
    end: int | None = None
    events: list[SoundEvent] = field(default_factory=list[SoundEvent])
    retired: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    arrivals: deque[tuple[int, float]] = field(default_factory=deque[tuple[int, float]])

    def note_arrival(self, end_sample: int, now_s: float, decided: int) -> None:
        """Remember when a block came, and forget those whose samples are all decided."""
        while self.arrivals and self.arrivals[0][0] <= decided:
            self.arrivals.popleft()
        self.arrivals.append((end_sample, now_s))

    def arrived_at(self, sample: int) -> float | None:
        """Monotonic arrival of the block that brought the sample before ``sample``; None if none did."""
        return next((at for end, at in self.arrivals if end >= sample), None)
