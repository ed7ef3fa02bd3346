"""The engine's two sockets, and what gets through them: blocks in, from whom they may come, acknowledgements out."""

import os
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import zmq

from earmark.contracts.addresses import ack_address, bind_error, needs_ipv6
from earmark.contracts.streams import Ack
from earmark.contracts.wire import RecordTable, encode_ack, read_messages
from earmark.links.door import Door, bind_within
from earmark.telemetry.refusals import Refusals
from engine.config import EngineConfig

_RECEIVE_HWM = 64
_ACKS_HWM = 100_000
"""Every second each stream's acknowledgement goes out in one burst; one has 72 bytes."""
LONGEST_MESSAGE = 1 << 20
"""A streamer's messages end at about 150 KiB. A longer one is refused, and its sender named."""
_CUT_OFF_AT = 4 << 20
"""ZeroMQ itself ends a connection that announces more, before it takes a byte of it."""
_LONGEST_SUBSCRIPTION = 4096
"""A topic has 32 bytes, and ZeroMQ keeps each at fifty times its size; CURVE's own messages are longer."""
_MOST_MESSAGES = 4096
"""Taken at once, so that many tiny ones keep nobody waiting."""
_BURST_S = 4.0
"""A client may be so far ahead of its rate: streamers have so much on its way."""


def receiving_context() -> "zmq.Context[Any]":
    """A context whose own threads interrupt nobody on their core.

    Where the one that receives shares a core with the engine, it would else stop a step for each message; so it reads
    what has come when the engine waits. Who has chosen how the engine is scheduled, or may not, gets an ordinary one.
    """
    context: zmq.Context[Any] = zmq.Context()
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    if policy == os.SCHED_OTHER:
        with suppress(OSError):  # tried here, because libzmq ends the process where it is refused
            os.sched_setscheduler(0, os.SCHED_BATCH, parameters)
            os.sched_setscheduler(0, policy, parameters)
            context.set(zmq.THREAD_SCHED_POLICY, os.SCHED_BATCH)
    return context


class Message(NamedTuple):
    """What came: its sender, by public key, or by address where all may come, else empty; and the bytes."""

    sender: str
    body: bytes


class Gate:
    """Binds the engine's sockets, and refuses what must not come in.

    Args:
        context: The process's.
        config: Where to bind, and how much a client may send.
        refusals: Counts them.

    Raises:
        ConfigError: An address cannot be bound, or a key file cannot be used.
    """

    def __init__(self, context: "zmq.Context[Any]", config: EngineConfig, refusals: Refusals) -> None:
        self._context = context
        self._config = config
        self._refusals = refusals
        curve = config.curve
        self._door = (
            None if curve is None else Door(context, curve, lambda client: bool(client.streams), "engine.curve")
        )
        self._sender_is = "User-Id" if self._door else "Peer-Address" if config.insecure else None
        self._cuts = 0
        self._judged: object = None
        self._permitted: set[tuple[str, str]] = set()
        self._streams_of: dict[str, set[str]] = defaultdict(set)
        self._allowances: dict[str, tuple[float, float]] = {}
        self._channels: list[zmq.Socket[bytes]] = []
        try:
            self._blocks, self._acks = self._bind()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the sockets, and end the door's thread."""
        for channel in self._channels:
            channel.close(0)
        if self._door is not None:
            self._door.close()

    def _bind(self) -> tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"]:
        blocks, acks = self._channels = [self._context.socket(zmq.PULL), self._context.socket(zmq.PUB)]
        blocks.setsockopt(zmq.RCVHWM, _RECEIVE_HWM)
        acks.setsockopt(zmq.SNDHWM, _ACKS_HWM)
        blocks.setsockopt(zmq.MAXMSGSIZE, _CUT_OFF_AT)
        acks.setsockopt(zmq.MAXMSGSIZE, _LONGEST_SUBSCRIPTION)
        if self._door is not None:
            self._door.guard(blocks)
            self._door.guard(acks)
        for address in self._config.bind:
            for socket, bound in ((blocks, address), (acks, ack_address(address))):
                socket.setsockopt(zmq.IPV6, int(needs_ipv6(bound)))
                try:
                    bind_within(socket, bound, again=self._cuts > 0)
                except zmq.ZMQError as error:
                    hint = "stop the other engine or choose another address"
                    raise bind_error("engine.bind", bound, error.errno, str(error.strerror), hint) from error
        return blocks, acks

    def wait(self, timeout_ms: int) -> bool:
        """Whether a message is there, at the latest after ``timeout_ms``."""
        return bool(self._blocks.poll(timeout_ms))

    def drain(self, n_bytes: int) -> list[Message]:
        """What is there, until it has ``n_bytes``; what is too long or too much of one client is left out."""
        messages: list[Message] = []
        for _ in range(_MOST_MESSAGES):
            if n_bytes <= 0:
                break
            try:
                message = self._receive()
            except zmq.Again:
                break
            n_bytes -= len(message.body)
            if self._fits(message):
                messages.append(message)
        return messages

    def _receive(self) -> Message:
        if self._sender_is is None:
            return Message("", self._blocks.recv(zmq.NOBLOCK))
        frame = self._blocks.recv(zmq.NOBLOCK, copy=False)
        return Message(str(frame.get(self._sender_is)), frame.bytes)

    def _fits(self, message: Message) -> bool:
        size = len(message.body)
        if size > LONGEST_MESSAGE:
            self._refuse(
                "too_long", message.sender, f"expected messages of at most {LONGEST_MESSAGE} bytes, got {size}"
            )
            return False
        return self._door is None or self._is_in_time(message.sender, size)

    def _is_in_time(self, sender: str, size: int) -> bool:
        """Whether a client keeps to its rate; what does not comes again, since the engine asks for it."""
        rate, now_s = self._config.max_client_mb_s * 1e6, time.monotonic()
        left, at_s = self._allowances.get(sender, (_BURST_S * rate, now_s))
        left = min(_BURST_S * rate, left + (now_s - at_s) * rate) - size
        self._allowances[sender] = (max(left, 0.0), now_s)
        if left < 0:
            explanation = f"expected at most {self._config.max_client_mb_s:g} MB/s; engine.max_client_mb_s allows more"
            self._refuse("too_fast", sender, explanation)
        return left >= 0

    def read(self, messages: Sequence[Message]) -> RecordTable:
        """The records in messages, of streams that their senders may send."""
        table, errors = read_messages([message.body for message in messages])
        for i, error in errors.items():
            self._refuse(error.reason, messages[i].sender, str(error))
        return table if self._door is None else self._judge(self._door, table, [message.sender for message in messages])

    def _judge(self, door: Door, table: RecordTable, senders: Sequence[str]) -> RecordTable:
        places: list[int] = table.message.tolist()
        pairs = [(senders[i], name) for i, name in zip(places, table.names, strict=True)]
        if self._judged is not door.allowed:
            self._judged = door.allowed
            self._permitted.clear()
            self._streams_of.clear()
        strangers = {pair for pair in set(pairs) - self._permitted if not self._admit(door, *pair)}
        return table.only(np.array([pair not in strangers for pair in pairs])) if strangers else table

    def _admit(self, door: Door, sender: str, stream: str) -> bool:
        """Whether a client may send a stream; remembered until the list of allowed keys changes."""
        found = door.find(sender)
        streams = self._streams_of[sender]
        if found is None:
            self._refuse("revoked_key", sender, "expected a key that is allowed, got one that no longer is")
        elif not found[1].may_send(stream):
            allowed = ", ".join(found[1].streams)
            self._refuse("foreign_stream", sender, f"expected a stream that it may send ({allowed}), got {stream!r}")
        elif len(streams) >= self._config.max_client_streams:
            explanation = f"expected at most {self._config.max_client_streams} streams of a client, got {stream!r} too"
            self._refuse("too_many_streams", sender, f"{explanation}; engine.max_client_streams allows more")
        else:
            streams.add(stream)
            self._permitted.add((sender, stream))
            return True
        return False

    def _refuse(self, reason: str, sender: str, explanation: str) -> None:
        found = None if self._door is None else self._door.find(sender)
        self._refusals.count(reason, found[0] if found else sender or "a peer", explanation)

    def send_ack(self, ack: Ack) -> None:
        """Tell whoever listens; never blocks."""
        self._acks.send(encode_ack(ack))

    def tend(self) -> None:
        """Open the sockets anew where somebody's rights shrank: nobody stays connected who may not be.

        Raises:
            Exception: What went wrong where keys are looked at: nobody new may come in, and nobody be cut off.
        """
        if self._door is None:
            return
        if self._door.error is not None:
            raise self._door.error
        if self._door.cuts == self._cuts:
            return
        self._cuts = self._door.cuts
        for channel in self._channels:
            channel.close(0)
        self._blocks, self._acks = self._bind()
