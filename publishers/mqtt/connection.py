"""One connection to the broker, from its beginning until it is lost.

Each has a client of its own and begins with nothing: what an earlier one left unacknowledged is not sent again by the
protocol but by the sink, which knows what of it is still true. All is done in the thread that calls.
"""

import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from publishers.mqtt.access import Access
from publishers.sinks import SinkError

CONNECT_S = 4.0
"""What each step of connecting may take: the network, TLS, the broker's answer."""
ANSWER_S = 10.0
"""A broker that acknowledges nothing for so long is given up."""
ENDING_S = 1.0
"""What it still gets when the publishers are to end."""
KEEPALIVE_S = 30
WINDOW = 20
"""Messages that may wait for their acknowledgement; what mosquitto takes at once."""
MOST_RECEIVED = 10_000
LOST = "the connection is lost; the broker's log may say why"
_POLL_S = 0.2
_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)
"""Linux only. Brokers send small acknowledgements one by one, and each waits for the network's own, up to 40 ms."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class Received:
    """A message that the broker sent."""

    topic: str
    payload: bytes
    is_kept: bool
    """Whether it is older than our subscription."""


class Connection:
    """Connects at once, and subscribes.

    Args:
        access: How to reach the broker.
        subscriptions: Topic filters, and the quality of service of each.
        ending: Set when the publishers are to end.
        clock: Monotonic seconds.
        optional: More subscriptions, which the broker may refuse.

    Raises:
        SinkError: The broker cannot be reached or refuses.
    """

    def __init__(
        self,
        access: Access,
        subscriptions: Mapping[str, int],
        ending: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        *,
        optional: Mapping[str, int] | None = None,
    ) -> None:
        self.received: deque[Received] = deque(maxlen=MOST_RECEIVED)
        """What came and nobody looked at yet; the oldest make room."""
        self.unacknowledged: dict[int, str] = {}
        """Topics of what was sent and has no answer yet, by packet id, in order."""
        self._lost: str | None = None
        self._is_answered = self._may_be_refused = False
        self._where = access.where
        self._window = WINDOW
        self._ending = ending
        self._clock = clock
        self._content_types: dict[str, Properties] = {}
        self._client = self._make_client(access)
        try:
            self._connect(access)
            for wanted, self._may_be_refused in ((subscriptions, False), (optional or {}, True)):
                if wanted:
                    self._subscribe(wanted)
        except SinkError:
            self.drop()
            raise

    def _make_client(self, access: Access) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, access.client_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages = WINDOW
        client.username = access.username
        client.password = access.password
        if access.tls is not None:
            client.tls_set_context(access.tls)  # pyright: ignore[reportUnknownMemberType] -- its default is None
        client.will_set(access.will_topic, access.will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        # With it paho writes when it is told to: what the broker said last is read before a write finds it gone.
        client.on_socket_register_write = _nothing
        return client

    def _connect(self, access: Access) -> None:
        self._client.connect_async(access.host, access.port, KEEPALIVE_S, clean_start=True)
        try:
            self._client.reconnect()
        except (OSError, ValueError) as error:
            raise SinkError(f"{self._where}: {_describe(error)}") from error
        self._wait(lambda: self._is_answered, CONNECT_S)

    def _subscribe(self, subscriptions: Mapping[str, int]) -> None:
        self._is_answered = False
        self._client.subscribe([(topic, SubscribeOptions(qos=qos)) for topic, qos in subscriptions.items()])
        self._wait(lambda: self._is_answered, CONNECT_S)

    def send(self, topic: str, payload: str | bytes, *, retain: bool = False, content_type: str = "") -> int:
        """Send a message with quality of service 1, when there is room for it in the window.

        Returns:
            What it is called in `unacknowledged`.

        Raises:
            SinkError: The connection is lost.
        """
        self._wait(lambda: len(self.unacknowledged) < self._window)
        properties = self._properties(content_type) if content_type else None
        sent = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._lost = self._lost or LOST
            self._raise_if_lost()
        self.unacknowledged[sent.mid] = topic
        return sent.mid

    def _properties(self, content_type: str) -> Properties:
        if content_type not in self._content_types:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ContentType = content_type
            self._content_types[content_type] = properties
        return self._content_types[content_type]

    def settle(self) -> None:
        """Wait until the broker has everything.

        Raises:
            SinkError: The connection is lost, or it does not answer.
        """
        self._wait(lambda: not self.unacknowledged)

    def turn(self) -> None:
        """Send and take what can be without waiting.

        Raises:
            SinkError: The connection is lost.
        """
        self._pump(0.0)
        self._raise_if_lost()

    def _wait(self, is_done: Callable[[], bool], within_s: float = ANSWER_S) -> None:
        """Until ``is_done``, as long as acknowledgements come."""
        n_waiting, since_s = len(self.unacknowledged), self._clock()
        self._pump(0.0)
        while not is_done():
            self._raise_if_lost()
            if len(self.unacknowledged) != n_waiting:
                n_waiting, since_s = len(self.unacknowledged), self._clock()
            patience_s = min(within_s, ENDING_S) if self._ending.is_set() else within_s
            if self._clock() - since_s > patience_s:
                self._lost = self._lost or f"no answer within {patience_s:g} s"
                self._raise_if_lost()
            self._pump(_POLL_S)
        self._raise_if_lost()

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            self.drop()
            raise SinkError(f"{self._where}: {self._lost}")

    def _pump(self, timeout_s: float) -> None:
        """Let paho read, then write."""
        sock: Any = self._client.socket()
        if sock is None:
            self._lost = self._lost or LOST
            return
        poller = select.poll()
        poller.register(sock.fileno(), select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        is_pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        ready = poller.poll(0 if is_pending else timeout_s * 1000)
        try:
            if is_pending or any(events & ~select.POLLOUT for _, events in ready):
                self._client.loop_read()
                if _QUICK_ACK is not None and self._client.socket() is sock:
                    sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
            if self._client.want_write():
                self._client.loop_write()
            self._client.loop_misc()
        except OSError:
            self._lost = self._lost or LOST
        except (MQTTException, ValueError, LookupError, struct.error) as error:
            self._lost = self._lost or f"expected a broker of MQTT 5, got bytes that are none of it: {error}"

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._lost is not None

    def close(self) -> None:
        """Say goodbye, so that the broker does not speak the will."""
        if self._lost is None:
            self._client.disconnect()
            self._pump(0.0)
        self.drop()

    def drop(self) -> None:
        """End it without a word."""
        self._lost = self._lost or "the connection was given up"
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    # What paho calls, from within `_pump`.

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Properties | None) -> None:
        del client, data, flags
        self._is_answered = True
        if reason.is_failure:
            self._lost = f"the broker refuses the connection: {reason}"
        self._window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Properties | None) -> None:
        del client, data, properties
        if self._lost is None:
            said = f"the broker ended the connection: {reason}" if flags.is_disconnect_packet_from_server else ""
            self._lost = said or LOST

    def _on_publish(self, client: Client, data: Any, mid: int, reason: Any, properties: Properties) -> None:
        del client, data, properties
        if reason.is_failure:
            self._refuse(self.unacknowledged[mid], reason)
        else:
            del self.unacknowledged[mid]

    def _on_subscribe(
        self, client: Client, data: Any, mid: int, reasons: Sequence[Any], properties: Properties
    ) -> None:
        del client, data, mid, properties
        self._is_answered = True
        for reason in reasons:
            if reason.is_failure and self._may_be_refused:
                _log.warning("the broker does not show what it keeps of us; streams that are gone may stay up there")
            elif reason.is_failure:
                self._refuse("a subscription", reason)

    def _refuse(self, what: str, reason: Any) -> None:
        """It is over then: some brokers hang up by themselves."""
        self._lost = self._lost or f"the broker refuses {what}: {reason}; allow it in the broker's access list"

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        del client, data
        self.received.append(Received(message.topic, bytes(message.payload), message.retain))


def _nothing(client: Client, data: Any, sock: Any) -> None:
    """Called by paho where it wants to write: `Connection` looks for itself."""


def _describe(error: OSError | ValueError) -> str:
    """The network's own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no encrypted connection: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer when connecting"
    return getattr(error, "strerror", None) or str(error)
