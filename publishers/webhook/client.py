"""One POST, its deadline, and what its answer means."""

import email.utils
import math
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from earmark.contracts.errors import ConfigError
from publishers.webhook.config import WebhookConfig

RETRIED = frozenset({408, 425, 429})
"""Refusals that pass; so do all from 500 on. Anything else that is no success is final."""
LONGEST_RETRY_AFTER_S = 300.0
_MOST_ANSWER_BYTES = 65_536
_WATCH_S = 0.25
"""A deadline is looked after this often."""
_CLOSE_S = 1.0


@dataclass(frozen=True)
class Reply:
    """What came of a request.

    Attributes:
        is_delivered: The server took it.
        is_final: It never will.
        reason: In a few words, without secrets; empty where it was delivered.
        retry_after_s: How long the server wants to be left alone.
    """

    is_delivered: bool
    is_final: bool = False
    reason: str = ""
    retry_after_s: float = 0.0


class WebhookClient:
    """Posts to one address, one request at a time, and follows nowhere.

    Args:
        config: The webhook's.
        where: Its name in the configuration, for messages.

    Raises:
        ConfigError: ``ca_file`` cannot be used.
    """

    def __init__(self, config: WebhookConfig, where: str) -> None:
        self._timeout_s = config.timeout_s
        self._url = config.url.get_secret_value()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._due_s = math.inf
        self._is_late = False
        self._is_closed = threading.Event()
        self._watch = threading.Thread(target=self._watch_deadlines, name="webhook-deadline", daemon=True)
        self.is_stopped = False
        """Whether `interrupt` was called; what fails from then on says nothing of the server."""
        self._client = httpx.Client(
            verify=_trust(config, where),
            timeout=config.timeout_s,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=1),
            headers={name: value.get_secret_value() for name, value in config.headers.items()},
        )

    def post(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send a body. Takes ``timeout_s`` for the connection and as long for all the rest, at most."""
        if self.is_stopped:
            return Reply(is_delivered=False)
        if self._watch.ident is None:
            self._watch.start()
        self._client.cookies.clear()  # whatever the server gave: nothing rests on it, and they would pile up
        self._is_late, self._due_s = False, time.monotonic() + self._timeout_s
        try:
            return self._exchange(headers, body)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError) as error:
            is_slow = self._is_late or isinstance(error, httpx.TimeoutException)
            reason = f"no answer within {self._timeout_s:g} s" if is_slow else _describe(error)
            return Reply(is_delivered=False, reason=reason)
        finally:
            self._due_s = math.inf

    def _exchange(self, headers: Mapping[str, str], body: bytes) -> Reply:
        options: dict[str, Any] = {"trace": self._trace}
        with self._client.stream(
            "POST", self._url, content=body, headers=dict(headers), extensions=options
        ) as response:
            reply = _judge(response)
            _drain(response)
        return reply

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Learn which socket is in use."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
            if self.is_stopped:
                self._hang_up()

    def _watch_deadlines(self) -> None:
        """End what takes too long in all: httpx's own timeouts begin anew with every byte that drips in."""
        while not self._is_closed.wait(min(_WATCH_S, self._timeout_s / 4)):
            if time.monotonic() >= self._due_s:
                self._is_late = True
                self._hang_up()

    def _hang_up(self) -> None:
        """Wake whoever waits on the socket."""
        with self._lock:
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    self._socket = None  # it is closed already

    def interrupt(self) -> None:
        """Fail the request under way, and all that follow. For any thread."""
        self.is_stopped = True
        self._hang_up()

    def close(self) -> None:
        """Close the connection, and end the thread that watches it."""
        self._is_closed.set()
        if self._watch.ident is not None:
            self._watch.join(_CLOSE_S)
        self._client.close()


def _trust(config: WebhookConfig, where: str) -> ssl.SSLContext | bool:
    if config.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(config.ca_file.expanduser()))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{where}.ca_file: expected certificates in {config.ca_file}, got: {reason}") from error


def _describe(error: Exception) -> str:
    """The network's own words; of other errors only the kind, for they may quote what nobody should read."""
    if isinstance(error, httpx.RemoteProtocolError):
        return "hung up, or answered what is no HTTP"
    return (isinstance(error, httpx.NetworkError) and str(error)) or type(error).__name__


def _judge(response: httpx.Response) -> Reply:
    code = response.status_code
    if response.is_success:
        return Reply(is_delivered=True)
    reason = f"answered {code} {response.reason_phrase}".rstrip()
    if response.is_redirect:
        reason += "; redirects are not followed, set url to where it leads"
    is_passing = code in RETRIED or code >= 500
    retry_after_s = _retry_after_s(response.headers.get("retry-after", ""))
    return Reply(is_delivered=False, is_final=not is_passing, reason=reason, retry_after_s=retry_after_s)


def _retry_after_s(text: str) -> float:
    """Seconds, from seconds or a date; 0 where it is neither."""
    try:
        seconds = float(text) if text.strip().isdecimal() else _seconds_until(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S) if math.isfinite(seconds) else LONGEST_RETRY_AFTER_S


def _seconds_until(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp() - time.time()


def _drain(response: httpx.Response) -> None:
    """Read the answer, so that the connection can be used again; what breaks here changes nothing."""
    n_bytes = 0
    try:
        for piece in response.iter_raw():
            n_bytes += len(piece)
            if n_bytes > _MOST_ANSWER_BYTES:
                return
    except httpx.HTTPError:
        return
