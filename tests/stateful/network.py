"""What `streamer.sender` and `engine.service` see as ZeroMQ: messages on their way, which the test delivers or loses.

A connection keeps its order, as ZeroMQ does. Everything else that ZeroMQ does not promise is up to the test: when
something arrives, whether all that is on its way is lost with a connection, and which acknowledgements come.
"""

from collections import deque
from collections.abc import Callable

import zmq

from earmark.contracts.addresses import ack_address

_HIGH_WATER_MARK = 8


class Network:
    """Every message on its way. Stands in for a `zmq.Context` on the streamer's side.

    Attributes:
        inboxes: What the process that has an address has received and not read.
        pushes: Connections to engines, those of streamers that are gone too.
        subs: Subscriptions of living streamers to acknowledgements.
    """

    def __init__(self):
        self.inboxes: dict[str, deque[bytes]] = {}
        self.pushes: list[Push] = []
        self.subs: list[Sub] = []

    def socket(self, kind: int):
        return Push(self) if kind == zmq.PUSH else Sub(self)

    def disconnect(self):
        """The streamer is gone; what it sent is still on its way, and nobody hears acknowledgements."""
        self.subs.clear()
        for push in self.pushes:
            push.is_open = False


class Push:
    """A streamer's connection to one engine."""

    def __init__(self, network: Network):
        self.in_flight: deque[bytes] = deque()
        self.is_open = True
        self.address = ""
        self._network = network

    def set(self, option: int, value: int):
        pass

    def connect(self, address: str):
        self.address = address
        self._network.pushes.append(self)

    def poll(self, _timeout_ms: int, _flags: int) -> bool:
        return self.address in self._network.inboxes and len(self.in_flight) < _HIGH_WATER_MARK

    def send(self, message: bytes, _flags: int):
        self.in_flight.append(message)

    def deliver(self, n_messages: int):
        inbox = self._network.inboxes.get(self.address)
        while inbox is not None and self.in_flight and n_messages > 0:
            inbox.append(self.in_flight.popleft())
            n_messages -= 1


class Sub:
    """A streamer's subscription to one engine's acknowledgements."""

    def __init__(self, network: Network):
        self.in_flight: deque[bytes] = deque()
        self._topics: list[bytes] = []
        self._address = ""
        self._network = network

    def set(self, option: int, value):
        if option == zmq.SUBSCRIBE:
            self._topics.append(value)

    def connect(self, address: str):
        self._address = address
        self._network.subs.append(self)

    def offer(self, address: str, message: bytes):
        if address == self._address and any(message.startswith(topic) for topic in self._topics):
            self.in_flight.append(message)

    def poll(self, _timeout_ms: int) -> bool:
        return bool(self.in_flight)

    def recv(self, _flags: int) -> bytes:
        return self.in_flight.popleft()


class Pull:
    """An engine's socket; ``wait`` is told how long it waited in vain."""

    def __init__(self, inbox: deque[bytes], wait: Callable[[], None]):
        self._inbox, self._wait = inbox, wait

    def poll(self, _timeout_ms: int) -> bool:
        if not self._inbox:
            self._wait()
        return bool(self._inbox)

    def recv(self, _flags: int) -> bytes:
        if not self._inbox:
            raise zmq.Again
        return self._inbox.popleft()


class Pub:
    """An engine's acknowledgements; ``check`` sees each one first."""

    def __init__(self, network: Network, engine: str, check: Callable[[bytes], None]):
        self._network, self._address, self._check = network, ack_address(engine), check

    def send(self, message: bytes):
        self._check(message)
        for sub in self._network.subs:
            sub.offer(self._address, message)
