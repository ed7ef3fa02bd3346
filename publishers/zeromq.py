"""Events on a ZeroMQ PUB socket, for any number of subscribers.

A message is ``STREAM/LABEL``, the event as JSON, and a ``seq``: between it and the event's own its stream has no event.
PUB loses: a subscriber that is slow, away or late asks the history socket (`publishers.history`). It notices by that
``seq``, and by two more messages, whose topics no stream's name can begin:

- ``/newest`` and ``{"outbox": ID, "seq": N}``, every second: everything through N was sent.
- ``/welcome/ID``, one frame, before anything else on every new connection: which outbox the numbers belong to.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import zmq

from earmark.contracts.addresses import bind_error, needs_ipv6
from earmark.contracts.events import NEWEST_TOPIC, WELCOME_PREFIX
from earmark.links.door import Door, bind_within
from earmark.outbox import OutboxReader, StoredEvent
from publishers.sinks import SinkError

HEARTBEAT_S = 1.0
MOST_SUBSCRIPTION_BYTES = 4096
HIGH_WATER_MARK = 4096
"""Messages that wait for one subscriber; further ones are dropped for it, and it asks the history."""
LINGER_MS = 500


class ZeroMqSink:
    """Publishes on a PUB socket, which is bound at once.

    Args:
        context: The process's.
        bind: Address.
        clock: Monotonic seconds, for the heartbeat.
        door: Who may subscribe; None for anybody.

    Raises:
        ConfigError: The address cannot be bound.
    """

    name = "zeromq"

    def __init__(
        self,
        context: "zmq.Context[Any]",
        bind: str,
        clock: Callable[[], float] = time.monotonic,
        door: Door | None = None,
    ) -> None:
        self._context = context
        self._bind = bind
        self._clock = clock
        self._door = door
        self._cuts = 0
        self._outbox_id = ""
        self._sent_through = self._known_from = 0
        self._last_of: dict[str, int] = {}
        self._next_heartbeat_s = 0.0
        self._socket = self._open()

    def _open(self) -> "zmq.Socket[bytes]":
        options: dict[zmq.SocketOption, int | bytes] = {
            zmq.SNDHWM: HIGH_WATER_MARK,
            zmq.MAXMSGSIZE: MOST_SUBSCRIPTION_BYTES,
            **({zmq.XPUB_WELCOME_MSG: self._welcome} if self._outbox_id else {}),
        }
        where, again = "publishers.zeromq.bind", self._cuts > 0
        return bind_socket(
            self._context, zmq.PUB, self._bind, where=where, options=options, door=self._door, again=again
        )

    @property
    def _welcome(self) -> bytes:
        return WELCOME_PREFIX + self._outbox_id.encode()

    def resume(self, outbox: OutboxReader, cursor: int) -> int:
        """Tell present and future subscribers which outbox this is."""
        self._outbox_id = outbox.outbox_id
        self._forget(cursor)
        self._socket.setsockopt(zmq.XPUB_WELCOME_MSG, self._welcome)
        self._send_heartbeat(cursor)
        return cursor

    def publish(self, events: Sequence[StoredEvent]) -> None:
        """Send; never blocks, a subscriber whose queue is full misses it."""
        for event in events:
            if event.seq != self._sent_through + 1:
                self._forget(event.seq - 1)
            previous = self._last_of.get(event.stream, self._known_from)
            self._send(f"{event.stream}/{event.label}".encode(), event.json.encode(), b"%d" % previous)
            self._last_of[event.stream] = self._sent_through = event.seq

    def _forget(self, through: int) -> None:
        """Know nothing of what came before: it is another outbox, retention took something, or a batch is repeated."""
        self._sent_through = self._known_from = through
        self._last_of = {}

    def tick(self, seq: int) -> None:
        """Send the heartbeat when it is due, and let libzmq welcome who came; send away who may no longer be here."""
        if self._door is not None and self._door.cuts != self._cuts:
            self._cuts = self._door.cuts
            self._socket.close(0)
            self._socket = self._open()  # all who may come again do, and ask the history
        self._socket.getsockopt(zmq.EVENTS)
        if self._clock() >= self._next_heartbeat_s:
            self._send_heartbeat(seq)

    def _send_heartbeat(self, seq: int) -> None:
        self._send(NEWEST_TOPIC, f'{{"outbox":"{self._outbox_id}","seq":{seq}}}'.encode())
        # A little early: the worker ticks every half second or later, and every second is what we promise.
        self._next_heartbeat_s = self._clock() + HEARTBEAT_S * 0.9

    def _send(self, *parts: bytes) -> None:
        try:
            self._socket.send_multipart(parts, zmq.DONTWAIT)
        except zmq.ZMQError as error:
            raise SinkError(f"publishers.zeromq cannot send: {error}") from error

    def close(self) -> None:
        """Close the socket; what is queued has half a second to leave."""
        self._socket.close(LINGER_MS)


def bind_socket(
    context: "zmq.Context[Any]",
    kind: int,
    address: str,
    *,
    where: str,
    options: Mapping[zmq.SocketOption, int | bytes],
    door: Door | None,
    again: bool = False,
) -> "zmq.Socket[bytes]":
    """A bound socket.

    Raises:
        ConfigError: The address cannot be bound; ``where`` names the setting.
    """
    channel: zmq.Socket[bytes] = context.socket(kind)
    for option, value in {zmq.LINGER: LINGER_MS, zmq.IPV6: int(needs_ipv6(address)), **options}.items():
        channel.setsockopt(option, value)
    if door is not None:
        door.guard(channel)
    try:
        bind_within(channel, address, again=again)
    except zmq.ZMQError as error:
        channel.close()
        raise bind_error(where, address, error.errno, str(error), f"set {where} to a free address") from error
    return channel
