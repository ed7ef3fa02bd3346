"""One stream on its way out: what was sent, what was asked for again, what may be forgotten. Knows no socket."""

import time
from collections.abc import Callable

import numpy as np

from earmark.contracts.clock import SampleClock
from earmark.contracts.streams import Ack, AudioBlock, Gap, Record, new_epoch
from streamer.ring import GapSpan, Ring

BLOCK_SAMPLES = 4_096
"""Most samples in a block of backlog, below the wire's `MAX_BLOCK_SAMPLES`. Live audio goes out as it comes."""
AHEAD_S = 4.0
"""Audio that may be on its way. More waits in the ring, where the engine sees it: what stands in sockets has no number,
and an engine that cannot keep up must know by how much. It tells at least every 2 s of audio what has arrived."""
NUDGE_S = 1.0
ASK_AGAIN_S = 1.0


class Feed:
    """A stream's cursor over its ring. For the sender's thread.

    Args:
        stream: Name of the stream.
        epoch: This run of it; another one follows where an engine says that it is over.
        ring: What it heard; released as the engine says.
        clock: UTC of its samples.
        sample_rate_hz: Rate of the ring.
        can_wait: Its source waits for room.
        has_priority: It goes out before others.
        now: Monotonic clock, seconds.
    """

    def __init__(
        self,
        stream: str,
        epoch: int,
        ring: Ring,
        clock: SampleClock,
        *,
        sample_rate_hz: int,
        can_wait: bool,
        has_priority: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream
        self.epoch = epoch
        self.ring = ring
        self.has_priority = has_priority
        self._clock = clock
        self._rate = sample_rate_hz
        self._can_wait = can_wait
        self._now = now
        self._origin = 0
        """The ring's sample that is the first of the epoch."""
        self._cursor = 0
        self._last_sent = 0
        self._sent_at_s = now()
        self._end_sent = False
        self._end_acknowledged = False
        self._keep_sample = 0
        self._arrived = 0
        self._most_ahead = round(AHEAD_S * sample_rate_hz)
        self._asked_for = -1
        self._asked_at_s = 0.0

    @property
    def is_finished(self) -> bool:
        """Whether the epoch has ended and the engine has everything of it for good."""
        return self._end_sent and self._end_acknowledged

    def next_record(self) -> Record | None:
        """What goes out next, or None while there is nothing or enough on its way; counts as sent."""
        if self._is_far_ahead:
            return None
        span = self.ring.read(self._cursor, BLOCK_SAMPLES)
        if span is not None:
            return self._sent(self._gap(span) if isinstance(span, GapSpan) else self._block(span))
        if self.ring.end_sample == self._cursor and not self._end_sent:
            self._end_sent = True
            return self._sent(self._block(np.zeros(0, np.int16), end=True))
        return None

    def take(self, ack: Ack) -> bool:
        """Forget what ``ack`` allows, and go back to where it asks; whether there is more to send.

        A request is repeated until its samples arrive, so the same one again is heard only after `ASK_AGAIN_S`. What
        the ring does not hold any more goes out as a gap.
        """
        if ack.epoch != self.epoch:
            return False
        was_far_ahead = self._is_far_ahead
        self._arrived = max(self._arrived, self._origin + ack.needed_sample)
        self._keep_sample = max(self._keep_sample, min(self._origin + ack.keep_sample, self.ring.newest_sample))
        self.ring.release(self._keep_sample)
        self._cursor = max(self._cursor, self._keep_sample)
        if self._end_sent and self._keep_sample == self.ring.end_sample:
            # Only now: after a reset an engine rounds up, and so allows to forget an end that it has not heard of.
            self._end_acknowledged = True
        if ack.is_over and self._keep_sample != self.ring.end_sample:
            self._begin_epoch()
            return True
        if ack.resend_from < 0:
            self._asked_for = -1
            return was_far_ahead and not self._is_far_ahead
        now_s = self._now()
        if ack.resend_from == self._asked_for and now_s - self._asked_at_s < ASK_AGAIN_S:
            return False
        self._asked_for, self._asked_at_s = ack.resend_from, now_s
        self._go_to(min(self._origin + ack.resend_from, self.ring.newest_sample))
        return True

    def _begin_epoch(self) -> None:
        """Go on in another epoch with all audio that the engine has not heard in the one that is over."""
        self.epoch = new_epoch()
        self._origin = self._arrived = max(self._keep_sample, self.ring.oldest_sample)
        self._asked_for = -1
        self._go_to(self._origin)

    def nudge(self) -> bool:
        """Go back to the last record if nothing can follow before the engine has heard of it; whether so.

        That is when the epoch has ended or the ring is full and everything was sent, or enough is on its way, and a
        second passed in vain: an engine that started since then does not know of this stream.
        """
        held_up = self.ring.end_sample is not None or self.ring.is_waited_for
        all_sent = held_up and not self.is_finished and self._cursor >= self.ring.newest_sample
        if not all_sent and not self._is_far_ahead:
            return False
        if self._now() - self._sent_at_s < NUDGE_S:
            return False
        self._go_to(max(self._last_sent, self._keep_sample))
        return True

    @property
    def _is_far_ahead(self) -> bool:
        return self._cursor - self._arrived >= self._most_ahead

    def _go_to(self, sample: int) -> None:
        self._cursor = sample
        self._end_sent = self._end_acknowledged = False

    def _sent(self, record: Record) -> Record:
        self._last_sent, self._cursor = self._cursor, self._origin + record.end_sample
        self._sent_at_s = self._now()
        return record

    def _block(self, pcm: "np.ndarray[tuple[int], np.dtype[np.int16]]", *, end: bool = False) -> AudioBlock:
        return AudioBlock(
            stream=self.stream,
            epoch=self.epoch,
            first_sample=self._cursor - self._origin,
            captured_at_ns=self._captured_at_ns(),
            sample_rate_hz=self._rate,
            newest_sample=self._newest_audio(self._cursor + len(pcm)) - self._origin,
            pcm=pcm,
            can_wait=self._can_wait,
            end=end,
        )

    def _gap(self, span: GapSpan) -> Gap:
        return Gap(
            stream=self.stream,
            epoch=self.epoch,
            first_sample=self._cursor - self._origin,
            captured_at_ns=self._captured_at_ns(),
            sample_rate_hz=self._rate,
            newest_sample=self._newest_audio(self._cursor + span.n_samples) - self._origin,
            n_samples=span.n_samples,
            reason=span.reason,
            estimated=span.estimated,
            can_wait=self._can_wait,
        )

    def _newest_audio(self, sample: int) -> int:
        """Where the head would be, seen from ``sample``, without the gaps between: nobody falls behind by them."""
        return sample + self.ring.audio_from(sample)

    def _captured_at_ns(self) -> int:
        return max(0, self._clock.utc_ns(self._cursor))
