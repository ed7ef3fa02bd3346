"""The door of a process: ZeroMQ asks it about every key (ZAP, RFC 27), and it watches the allow-list.

ZeroMQ judges a key once, when its owner connects. So whoever reads messages asks again for each of them (`Door.find`),
and when somebody's rights shrink `Door.cuts` grows: owners of sockets then open them anew, which ends every connection;
all who are still allowed come back by themselves.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import structlog
import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from earmark.contracts.curve import HANDSHAKE_MS, CurveServer, read_secret_key
from earmark.contracts.errors import ConfigError
from earmark.links.allowed import Client, read_allow_list
from earmark.telemetry.refusals import Refusals

_ZAP = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_ADMITTED, _NOT_NOW = b"200", b"300"
"""A final refusal (400) would make libzmq give up for good, so that a key that is allowed later never came in."""
_POLL_MS = 200
_WATCH_S = 0.5
_REBIND_S = 5.0
_CLOSING_S = 2.0

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Door:
    """Lets known keys in, in a thread of its own from now until `close`. One a context.

    Args:
        context: Of the sockets that it guards.
        config: The own key, and the file with those of others.
        admits: Who has any business here.
        where: The configuration's name of ``config``.

    Raises:
        ConfigError: A file cannot be used.
    """

    def __init__(
        self, context: "zmq.Context[Any]", config: CurveServer, admits: Callable[[Client], bool], where: str
    ) -> None:
        try:
            self._secret = read_secret_key(config.key_file)
            self._path = config.allow_file.expanduser()
            self._seen = self._told_of = _stamp(self._path)
            self.allowed = read_allow_list(self._path)
            """The list as it is now; another one whenever the file changes."""
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        self._admits = admits
        self._where = where
        self._refusals = Refusals()
        self.error: Exception | None = None
        """What went wrong in the thread that should not; the owner raises it."""
        self.cuts = 0
        """How often somebody's rights shrank."""
        self._n_guarded = 0
        self._look_s = time.monotonic() + _WATCH_S
        self._zap = context.socket(zmq.REP)
        self._zap.bind(_ZAP)
        self._new_monitors: SimpleQueue[zmq.Socket[Any]] = SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)
        self._thread.start()

    def guard(self, channel: "zmq.Socket[Any]") -> None:
        """Make a socket ask for keys; before it is bound."""
        channel.curve_server = 1
        channel.curve_secretkey = self._secret
        channel.zap_domain = b"earmark"
        channel.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self._n_guarded += 1
        # Who speaks no CURVE may hang up first, and libzmq knows no detail then.
        heard = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_MONITOR_STOPPED
        self._new_monitors.put(channel.get_monitor_socket(heard, f"inproc://door-{self._n_guarded}"))

    def find(self, key: str) -> tuple[str, Client] | None:
        """Name and rights of a key's owner now; None for one who may not, or no longer, be here."""
        found = self.allowed.find(key)
        return found if found is not None and self._admits(found[1]) else None

    def close(self) -> None:
        """End the thread; the sockets that it guards are closed.

        While one is open ZeroMQ tells of its handshakes, and would wait for ever for somebody to hear.
        """
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._zap, zmq.POLLIN)
        monitors: set[zmq.Socket[Any]] = set()
        while not self._stop.is_set():
            try:
                self._turn(poller, monitors)
            except Exception as error:  # noqa: BLE001 -- the owner raises it; until then ZeroMQ wants to be heard
                self.error = error
        self._hear_out(monitors)
        self._zap.close(0)

    def _turn(self, poller: zmq.Poller, monitors: "set[zmq.Socket[Any]]") -> None:
        self._add_monitors(poller, monitors)
        for channel, _ in poller.poll(_POLL_MS):
            if channel is self._zap:
                self._answer()
            elif not self._hear(channel):
                poller.unregister(channel)
                monitors.discard(channel)
                channel.close()
        if time.monotonic() >= self._look_s:
            self._look_s = time.monotonic() + _WATCH_S
            self._look()

    def _hear_out(self, monitors: "set[zmq.Socket[Any]]") -> None:
        """Take in what the guarded sockets tell until each says that it is closed."""
        self._add_monitors(zmq.Poller(), monitors)
        give_up_s = time.monotonic() + _CLOSING_S
        for monitor in monitors:
            while monitor.poll(max(0, int(1000 * (give_up_s - time.monotonic())))) and self._hear(monitor):
                pass
            monitor.close(0)

    def _add_monitors(self, poller: zmq.Poller, monitors: "set[zmq.Socket[Any]]") -> None:
        while True:
            try:
                monitor = self._new_monitors.get_nowait()
            except Empty:
                return
            monitors.add(monitor)
            poller.register(monitor, zmq.POLLIN)

    def _answer(self) -> None:
        """One ZAP request: is the owner of this key let in?"""
        _, request, _, address, _, mechanism, *credentials = self._zap.recv_multipart()
        key = z85.encode(credentials[0]).decode() if mechanism == b"CURVE" else ""
        is_admitted = self.find(key) is not None
        if not is_admitted:
            self._refusals.count(
                "unknown_key",
                address.decode(errors="replace"),
                f"{self._where}: expected a key that {self._path} allows to do something here, got {key}; "
                "allow its .pub file with earmark keys allow if it is yours",
            )
        status, user = (_ADMITTED, key.encode()) if is_admitted else (_NOT_NOW, b"")
        self._zap.send_multipart([_VERSION, request, status, b"", user, b""])

    def _hear(self, monitor: "zmq.Socket[Any]") -> bool:
        """What became of a handshake; whether there may be more to hear."""
        event = recv_monitor_message(monitor)
        if event["event"] == zmq.EVENT_MONITOR_STOPPED:
            return False
        address = event["endpoint"].decode(errors="replace")
        self._refusals.count(
            "handshake", address, f"expected a peer that speaks CURVE to {self._where} and has its public key"
        )
        return True

    def _look(self) -> None:
        """Read the list again if it changed. One that cannot be read changes nothing, and is looked at again."""
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        try:
            fresh = read_allow_list(self._path)
        except ConfigError as error:
            if stamp != self._told_of:
                _log.error("the list of allowed keys cannot be read; the last good one counts", explanation=str(error))
            self._told_of = stamp
            return
        self._seen = stamp
        is_cut = fresh.takes_from(self.allowed)
        self.allowed = fresh
        self.cuts += is_cut
        _log.info("read the list of allowed keys again", clients=len(fresh.clients), reconnects_all=is_cut)


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes whenever the file does."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def bind_within(channel: "zmq.Socket[Any]", address: str, *, again: bool) -> None:
    """Bind; ``again`` where a socket of ours was closed just now, since ZeroMQ gives its address back a moment later.

    Raises:
        ZMQError: The address is taken, or is none.
    """
    give_up_s = time.monotonic() + (_REBIND_S if again else 0.0)
    while True:
        try:
            channel.bind(address)
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE or time.monotonic() >= give_up_s:
                raise
            time.sleep(0.005)
        else:
            return
