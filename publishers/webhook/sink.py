"""The sink of one webhook: in order, at least once, each request under the same key however often it is sent."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from earmark.contracts import cloudevents
from earmark.contracts.errors import OutboxError, UnreadableEventError
from earmark.contracts.events import SoundEvent
from earmark.outbox import OutboxReader, StoredEvent
from publishers.deadletters import DeadLetter, DeadLetters
from publishers.sinks import SinkError
from publishers.turns import TURN_S, Turns
from publishers.webhook.client import Reply, WebhookClient
from publishers.webhook.config import WebhookConfig, origin_of, webhook_sink_name
from publishers.webhook.signature import read_secrets, sign

PRUNE_EVERY_S = 60.0
"""A reboot makes letters younger by so much at most."""
BROKEN_S = 60.0
"""Dead letters that cannot be read are looked at again after this."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass
class _Attempts:
    """How often the events at the head of the queue were tried, and how many those are."""

    first_seq: int
    n_events: int
    began_s: float
    count: int = 0


@dataclass
class _Parcel:
    """What goes into one request: the events, and where the outbox was read through for them."""

    through: int
    stored: list[StoredEvent] = field(default_factory=list[StoredEvent])
    events: list[SoundEvent] = field(default_factory=list[SoundEvent])


class WebhookSink:
    """Delivers to one webhook, and to its dead letters what the webhook does not take.

    Args:
        name: The webhook's, in the configuration.
        config: The webhook's.
        letters: Where events go that are given up; owned.
        clock: Monotonic seconds, for attempts.

    Raises:
        ConfigError: A secret or a certificate cannot be used.
    """

    def __init__(
        self, name: str, config: WebhookConfig, letters: DeadLetters, clock: Callable[[], float] = time.monotonic
    ) -> None:
        where = f"publishers.webhooks.{name}"
        self.name = webhook_sink_name(name)
        self._where = f"{where} ({origin_of(config.url)})"
        self._config = config
        self._letters = letters
        self._clock = clock
        self._keys = read_secrets(config, where)
        self._client = WebhookClient(config, where)
        self._attempts: _Attempts | None = None
        self._turns = Turns(clock)
        self._single_through = 0
        self._prune_at_s = self._look_at_s = clock()

    def resume(self, outbox: OutboxReader, cursor: int) -> int:
        """From the cursor; what was delivered behind it goes out again, under the same keys."""
        del outbox
        self._attempts, self._single_through = None, 0
        self._turns.forget()
        return cursor

    def publish(self, events: Sequence[StoredEvent]) -> int:
        """Deliver for half a second, and at least one request; the ``seq`` through which all is settled.

        Raises:
            SinkError: The first request failed and is worth another attempt.
            OutboxError: The dead letters cannot be written.
        """
        return self._turns.take(events, self._take_first)

    def _take_first(self, stored: Sequence[StoredEvent]) -> int:
        parcel = self._pack(stored)
        if parcel.events:
            self._deliver(parcel)
        return parcel.through

    def _pack(self, stored: Sequence[StoredEvent]) -> _Parcel:
        """The next events of the filter; the same as before where those failed."""
        most, parcel = self._most_events(stored[0].seq), _Parcel(stored[0].seq)
        for item in stored:
            event = self._config.filter.read(item)
            parcel.through = item.seq
            if event is not None:
                parcel.stored.append(item)
                parcel.events.append(event)
                if len(parcel.events) == most:
                    break
        return parcel

    def _most_events(self, first_seq: int) -> int:
        if self._attempts is not None and self._attempts.first_seq >= first_seq:
            return self._attempts.n_events
        return 1 if self._config.mode != "batch" or first_seq <= self._single_through else self._config.max_batch

    def _deliver(self, parcel: _Parcel) -> None:
        attempts = self._attempts_at(parcel)
        reply = self._post(parcel.events)
        attempts.count += 1
        if not reply.is_delivered:
            self._settle_failure(parcel, reply, attempts)
        self._attempts = None

    def _attempts_at(self, parcel: _Parcel) -> _Attempts:
        first_seq = parcel.stored[0].seq
        if self._attempts is None or self._attempts.first_seq != first_seq:
            self._attempts = _Attempts(first_seq, len(parcel.events), self._clock())
        return self._attempts

    def _settle_failure(self, parcel: _Parcel, reply: Reply, attempts: _Attempts) -> None:
        """Return when the events were given up; raise when they are to be tried again."""
        age_s = self._clock() - attempts.began_s
        is_over = attempts.count >= self._config.max_attempts or age_s >= self._config.max_age_s
        if not reply.is_final and not is_over:
            raise SinkError(f"{self._where}: {reply.reason}", wait_s=reply.retry_after_s)
        if len(parcel.events) > 1:
            self._attempts, self._single_through = None, parcel.through
            raise SinkError(f"{self._where}: {reply.reason}; these {len(parcel.events)} events now go one by one")
        key = cloudevents.cloud_event_id(parcel.events[0])
        self._letters.add(self.name, key, parcel.stored[0], reply.reason, attempts.count)
        _log.warning("event goes to the dead letters", sink=self.name, key=key, reason=reply.reason)

    def _post(self, events: Sequence[SoundEvent]) -> Reply:
        headers, body = self._encode(events)
        key = _key_of(events, is_batch=self._config.mode == "batch")
        signed = sign(self._keys, key, int(time.time()), body)
        reply = self._client.post({**headers, "idempotency-key": key, **signed}, body)
        if self._client.is_stopped and not reply.is_delivered:
            raise SinkError(f"{self._where}: the publishers are stopping")
        return reply

    def _encode(self, events: Sequence[SoundEvent]) -> tuple[dict[str, str], bytes]:
        prefix = self._config.source_prefix
        match self._config.mode:
            case "batch":
                return {"content-type": cloudevents.BATCH}, cloudevents.encode_batch(events, prefix)
            case "structured":
                return {"content-type": cloudevents.STRUCTURED}, cloudevents.encode_structured(events[0], prefix)
            case "binary":
                headers, body = cloudevents.encode_binary(events[0], prefix)
                return {"content-type": cloudevents.DATA, **headers}, body

    def tick(self, seq: int) -> None:
        """Send again what somebody wants sent again, for half a second; drop letters that are too old."""
        del seq
        if self._clock() < self._look_at_s:
            return
        try:
            self._look()
        except OutboxError as error:  # no reason to hold new events back
            self._look_at_s = self._clock() + BROKEN_S
            _log.warning("dead letters cannot be used", sink=self.name, error=str(error), retry_s=BROKEN_S)

    def _look(self) -> None:
        until_s = self._clock() + TURN_S
        while self._clock() < until_s:
            wanted = self._letters.read(sink=self.name, is_wanted=True, limit=1)
            if not wanted or not self._resend(wanted[0]):
                break
        if self._clock() >= self._prune_at_s:
            self._letters.prune()
            self._prune_at_s = self._clock() + PRUNE_EVERY_S

    def _resend(self, letter: DeadLetter) -> bool:
        """One attempt; whether the next letter's turn is now."""
        try:
            reply = self._post([letter.stored.event])
        except UnreadableEventError as error:
            reply = Reply(is_delivered=False, is_final=True, reason=str(error))
        if reply.is_delivered:
            self._letters.remove([letter.id])
            _log.info("dead letter delivered", sink=self.name, letter=letter.id)
        else:
            self._letters.failed_again(letter, reply.reason)
            _log.warning("dead letter not delivered", sink=self.name, letter=letter.id, reason=reply.reason)
        return reply.is_delivered or reply.is_final

    def interrupt(self) -> None:
        """Give up the request under way: the publishers are to end. For any thread."""
        self._client.interrupt()

    def close(self) -> None:
        """Close the connection and the dead letters."""
        self._client.close()
        self._letters.close()


def _key_of(events: Sequence[SoundEvent], *, is_batch: bool) -> str:
    """The idempotency key: an event's id, or for a batch a hash of all of theirs."""
    ids = [cloudevents.cloud_event_id(event) for event in events]
    if not is_batch:
        return ids[0]
    return "batch/" + hashlib.blake2b("\n".join(ids).encode(), digest_size=16).hexdigest()
