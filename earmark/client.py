"""A subscriber: every event once, in the order of their ``seq``, whatever happened to the connection.

Live events come from the publishers' PUB socket, which loses; whatever is missing comes from their history socket.
The subscription remembers up to which ``seq`` it has everything (``covered``). A live event counts only if it is the
very next one; anything else, a new connection and a heartbeat above ``covered`` are reasons to ask the history.
"""

import json
import logging
import random
import time
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq
from pydantic import BaseModel, ConfigDict, Field, ValidationError, with_config
from typing_extensions import TypedDict

from earmark.contracts.addresses import needs_ipv6
from earmark.contracts.curve import CurveClient, connect_encrypted
from earmark.contracts.errors import ConfigError, WireError
from earmark.contracts.events import NEWEST_TOPIC, WELCOME_PREFIX, SoundEvent

PAGE_EVENTS = 500
_MOST_NAMES = 1000
_REQUEST_S = 2.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.05, 2.0

_log = logging.getLogger(__name__)


def subscribe(
    address: str = "tcp://127.0.0.1:7711",
    history: str = "tcp://127.0.0.1:7712",
    *,
    since: int | None = None,
    streams: Collection[str] = (),
    labels: Collection[str] = (),
    timeout_s: float | None = None,
    outbox: str | None = None,
    key_file: str | Path | None = None,
    server_key_file: str | Path | None = None,
) -> "Subscription":
    """Subscribe to events.

    ``since=None`` means from now: with publishers that answer, every event that is committed after this call returned
    comes. Without, "now" is when they first answer; the call itself waits for at most 2 s.

    Args:
        address: The publishers' PUB socket.
        history: Their history socket.
        since: Only events with a higher ``seq``; 0 for all that the outbox keeps, None for new ones.
        streams: Only of these streams; empty for all.
        labels: Only of these classes; empty for all.
        timeout_s: End the iteration after so long without an event; None waits for ever.
        outbox: The outbox that ``since`` belongs to (`Subscription.outbox`). If the publishers have another one, all of
            its events come.
        key_file: Secret key, for publishers that have ``publishers.zeromq.curve``; ``earmark keys new`` makes one.
        server_key_file: Their public key.

    Returns:
        An iterator; `Subscription.close` or leaving a ``with`` block gives its sockets back. For one thread.

    Raises:
        ConfigError: An address is no ZeroMQ address, ``since`` or a filter cannot be asked for, or a key file cannot
            be used.
    """
    if (key_file is None) != (server_key_file is None):
        raise ConfigError("expected key_file and server_key_file together, got one of them; give both, or none")
    curve = (
        None
        if key_file is None or server_key_file is None
        else CurveClient(key_file=Path(key_file), server_key_file=Path(server_key_file))
    )
    return Subscription(
        address, history, since=since, streams=streams, labels=labels, timeout_s=timeout_s, outbox=outbox, curve=curve
    )


class _Newest(BaseModel):
    outbox: str
    seq: int


@with_config(extra="allow")
class _Stored(TypedDict):
    """An event as it lies in the outbox."""

    seq: int


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)

    outbox: str
    newest: int = Field(ge=0)
    oldest: int
    covered: int = Field(ge=0)
    events: list[_Stored]


class Subscription(Iterator[SoundEvent]):
    """What `subscribe` returns.

    Attributes:
        outbox: Id of the outbox that ``seq`` and ``covered`` belong to; None before the publishers first answered.
        covered: Everything up to this ``seq`` has come or is missing for good; None before "now" is known.
        skipped: How many events did not come because another release wrote them and this one cannot read them. What a
            later release merely added to an event is left out.
    """

    def __init__(
        self,
        address: str,
        history: str,
        *,
        since: int | None,
        streams: Collection[str],
        labels: Collection[str],
        timeout_s: float | None,
        outbox: str | None,
        curve: CurveClient | None,
    ) -> None:
        self.outbox = outbox
        self.covered = since
        self.skipped = 0
        self._streams = frozenset([streams] if isinstance(streams, str) else streams)
        self._labels = frozenset([labels] if isinstance(labels, str) else labels)
        self._check_filter()
        self._timeout_s = timeout_s
        self._pending: deque[SoundEvent] = deque()
        self._live_outbox: str | None = None
        self._is_behind = True
        self._is_warned = False
        self._context: zmq.Context[Any] = zmq.Context()
        self._live: zmq.Socket[bytes] = self._context.socket(zmq.SUB)
        self._history: _History | None = None
        try:
            self._connect(address, curve)
            self._history = _History(self._context, history, self._streams, self._labels, curve)
        except BaseException:
            self.close()
            raise
        if since is None:
            self._catch_up(time.monotonic() + (_REQUEST_S if timeout_s is None else min(_REQUEST_S, timeout_s)))

    def _check_filter(self) -> None:
        if self.covered is not None and not 0 <= self.covered < 2**63:
            raise ConfigError(f"expected since to be a seq, 0 or more, got {self.covered}")
        if max(len(self._streams), len(self._labels)) > _MOST_NAMES:
            raise ConfigError(
                f"expected at most {_MOST_NAMES} streams and labels, got {len(self._streams)} and {len(self._labels)}; "
                "leave the filter out and choose yourself"
            )

    def _connect(self, address: str, curve: CurveClient | None) -> None:
        self._live.setsockopt(zmq.LINGER, 0)
        self._live.setsockopt(zmq.RECONNECT_IVL, 100)
        self._live.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        self._live.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        self._live.setsockopt(zmq.HEARTBEAT_TIMEOUT, 6000)
        for topic in (NEWEST_TOPIC, WELCOME_PREFIX, *self._topics()):
            self._live.setsockopt(zmq.SUBSCRIBE, topic)
        _connect(self._live, address, curve)

    def _topics(self) -> list[bytes]:
        """Prefixes. All labels of a stream come, so that none of its events is missed unnoticed; `_wants` chooses."""
        return [f"{stream}/".encode() for stream in self._streams] or [b""]

    def __next__(self) -> SoundEvent:
        """The next event.

        Raises:
            WireError: The publishers speak another version.
        """
        deadline_s = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        while not self._pending:
            if self._live.closed or (deadline_s is not None and time.monotonic() >= deadline_s):
                self.close()
                raise StopIteration
            if self._is_behind:
                self._catch_up(deadline_s)
            else:
                self._receive(deadline_s)
        return self._pending.popleft()

    def _receive(self, deadline_s: float | None) -> None:
        if not self._live.poll(_left_ms(deadline_s)):
            return
        topic, *rest = self._live.recv_multipart()
        if topic.startswith(WELCOME_PREFIX):
            self._live_outbox = topic[len(WELCOME_PREFIX) :].decode(errors="replace")
            self._is_behind = True
            return
        try:
            if topic == NEWEST_TOPIC:
                self._take_newest(_Newest.model_validate_json(rest[0]))
            else:
                event = SoundEvent.model_validate_json(rest[0], extra="ignore")
                self._take_live(event, previous=int(rest[1]) if len(rest) > 1 else event.seq - 1)
        except (ValueError, IndexError):
            # If it is an event, the history has it and says what is wrong with it.
            if not self._is_warned:
                _log.warning("refused a message with the topic %r: no event of this version", topic[:80])
            self._is_warned = self._is_behind = True

    def _take_newest(self, newest: _Newest) -> None:
        self._live_outbox = newest.outbox
        if newest.outbox != self.outbox or self.covered is None or newest.seq > self.covered:
            self._is_behind = True

    def _take_live(self, event: SoundEvent, previous: int) -> None:
        """Take an event if nothing that is asked for lies before it: no event at all, or none of the only stream."""
        if self.covered is None or self._live_outbox != self.outbox:
            return  # the welcome or the heartbeat that says so has made us ask already, or will
        is_next = event.seq == self.covered + 1 or (len(self._streams) == 1 and previous <= self.covered < event.seq)
        if is_next:
            self.covered = event.seq
            if self._wants(event):
                self._pending.append(event)
        elif event.seq > self.covered:
            self._is_behind = True

    def _wants(self, event: SoundEvent) -> bool:
        return (not self._streams or event.stream in self._streams) and (
            not self._labels or event.label in self._labels
        )

    def _catch_up(self, deadline_s: float | None) -> None:
        """Ask the history for one page."""
        answer = None if self._history is None else self._history.ask(self.covered, deadline_s)
        if answer is None:
            return
        if self._is_other_outbox(answer):
            self.outbox, self.covered = answer.outbox, 0
            return
        self.outbox = answer.outbox
        if self.covered is not None:
            self._warn_of_loss(answer, self.covered)
            new = (stored for stored in answer.events if stored["seq"] > (self.covered or 0))
            self._pending.extend(filter(None, map(self._read, new)))
        self.covered = answer.covered
        self._is_behind = answer.covered < answer.newest

    def _read(self, stored: _Stored) -> SoundEvent | None:
        """An event of this or a later release; None, told and counted, where it cannot be read."""
        try:
            return SoundEvent.model_validate(stored, extra="ignore")
        except ValidationError as error:
            self.skipped += 1
            _log.warning(
                "event %d skipped: another release wrote it (%s); run the same Earmark on both ends",
                stored["seq"],
                _first_of(error),
            )
            return None

    def _is_other_outbox(self, answer: _Answer) -> bool:
        """Whether the numbers so far mean nothing to the publishers."""
        if self.covered is None:
            return False
        if self.outbox is not None and answer.outbox != self.outbox:
            _log.warning("outbox %s was replaced by %s; beginning with all its events", self.outbox, answer.outbox)
            return True
        if self.outbox is None and self.covered > answer.newest:
            _log.warning(
                "since=%d is of another outbox: %s has %d; beginning with all its events",
                self.covered,
                answer.outbox,
                answer.newest,
            )
            return True
        if self.covered > answer.newest:
            _log.warning("outbox %s lost its end: %d, had %d", answer.outbox, answer.newest, self.covered)
        return False

    def _warn_of_loss(self, answer: _Answer, since: int) -> None:
        gone_through = min(answer.oldest - 1, answer.covered)
        lost = gone_through - since - sum(event["seq"] <= gone_through for event in answer.events)
        if lost > 0:
            most = "at most " if self._streams or self._labels else ""
            _log.warning("%s%d events between %d and %d were removed by retention", most, lost, since, gone_through + 1)

    def close(self) -> None:
        """Give the sockets back. May be repeated."""
        if not self._live.closed:
            self._live.close()
            if self._history is not None:
                self._history.close()
            self._context.destroy(linger=0)  # an interrupt may have come while a socket was made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_live"):
            self.close()


class _History:
    """Asks the history socket; after a failure with a fresh connection and a pause."""

    def __init__(
        self,
        context: "zmq.Context[Any]",
        address: str,
        streams: Collection[str],
        labels: Collection[str],
        curve: CurveClient | None = None,
    ) -> None:
        self._context = context
        self._address = address
        self._filter = {"streams": sorted(streams), "labels": sorted(labels)}
        self._curve = curve
        self._failures = 0
        self._socket = self._open()

    def _open(self) -> "zmq.Socket[bytes]":
        channel: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        channel.setsockopt(zmq.LINGER, 0)
        try:
            _connect(channel, self._address, self._curve)
        except ConfigError:
            channel.close()
            raise
        return channel

    def ask(self, since: int | None, deadline_s: float | None) -> _Answer | None:
        """One page behind ``since``; None when there was no answer, after a pause.

        Raises:
            WireError: The answer is none of this version.
        """
        request = {"since": since, "limit": PAGE_EVENTS, **self._filter}
        if self._send(json.dumps(request)) and self._socket.poll(min(int(_REQUEST_S * 1000), _left_ms(deadline_s))):
            message = self._socket.recv_multipart()[-1]
            if not message.startswith(b'{"error"'):
                self._note_answer()
                return _parse_answer(message)
            problem = f"{message.decode(errors='replace')};"
        else:
            key = ", and is this key allowed" if self._curve else ", and do they want a key"
            problem = f"no answer; is `earmark run` or `earmark publish` up there{key}?"
        self._retry(problem, deadline_s)
        return None

    def _send(self, request: str) -> bool:
        """Whether ZeroMQ took it: after a handshake that failed it has no connection left, and would wait for ever."""
        try:
            self._socket.send(request.encode(), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _note_answer(self) -> None:
        if self._failures:
            _log.info("history %s: answers again", self._address)
        self._failures = 0

    def _retry(self, problem: str, deadline_s: float | None) -> None:
        if self._failures == 0:
            _log.warning("history %s: %s trying again", self._address, problem)
        longest_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2 ** min(self._failures, 16))
        self._failures += 1
        self._socket.close()
        self._socket = self._open()
        wait_s = longest_s * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, no secret
        time.sleep(min(wait_s, _left_ms(deadline_s) / 1000))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _parse_answer(message: bytes) -> _Answer:
    try:
        return _Answer.model_validate_json(message)
    except ValidationError as error:
        raise WireError(
            "version",
            f"expected an answer of the history, got {_first_of(error)}; run the same Earmark on both ends",
        ) from error


def _first_of(error: ValidationError) -> str:
    """Where the first thing is wrong, and what."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _connect(channel: "zmq.Socket[bytes]", address: str, curve: CurveClient | None) -> None:
    channel.setsockopt(zmq.IPV6, int(needs_ipv6(address)))
    if curve is not None:
        connect_encrypted(channel, curve)
    try:
        channel.connect(address)
    except zmq.ZMQError as error:
        raise ConfigError(f"expected an address like tcp://127.0.0.1:7711, got {address!r}: {error}") from error


def _left_ms(deadline_s: float | None) -> int:
    """Milliseconds until a deadline; a second where there is none, so that nothing blocks for ever."""
    return 1000 if deadline_s is None else max(0, int((deadline_s - time.monotonic()) * 1000))
