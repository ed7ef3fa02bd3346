"""Metrics and health over real HTTP, and the notify socket."""

import errno
import gzip
import http.client
import json
import resource
import socket
import socketserver
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from earmark.contracts.errors import ConfigError
from earmark.telemetry import metrics, server
from earmark.telemetry.config import TelemetryConfig
from earmark.telemetry.health import Health
from earmark.telemetry.notify import notify
from earmark.telemetry.server import TelemetryServer
from tests.support.waiting import DEADLINE_S, wait_for


class Clock:
    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


@pytest.fixture
def telemetry(health: Health) -> Iterator[TelemetryServer]:
    with TelemetryServer("127.0.0.1:0", health) as telemetry:
        yield telemetry


def get(port: int, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_metrics_in_every_form(telemetry: TelemetryServer):
    metrics.EVENTS.labels("gate", "dog").inc()
    status, headers, body = get(telemetry.port, "/metrics")
    assert (status, headers.get_content_type()) == (200, "text/plain")
    assert "earmark_events" in {family.name for family in text_string_to_metric_families(body.decode())}
    _, headers, body = get(telemetry.port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers.get_content_type() == "application/openmetrics-text"
    assert "earmark_events" in {family.name for family in parse_openmetrics(body.decode())}
    _, headers, body = get(telemetry.port, "/metrics", **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert b'earmark_events_total{label="dog",stream="gate"}' in gzip.decompress(body)


@pytest.mark.parametrize(
    ("bind", "host", "status"),
    [
        ("127.0.0.1:0", "localhost:7722", 200),
        ("127.0.0.1:0", "127.0.0.1", 200),
        ("127.0.0.1:0", "evil.example:7722", 421),
        ("0.0.0.0:0", "hall-pi.local:7722", 200),
    ],
)
def test_on_loopback_only_its_own_names_are_answered(health: Health, bind: str, host: str, status: int):
    """A page of another site, whose name was made to lead here, must not read what is heard."""
    with TelemetryServer(bind, health) as telemetry:
        assert get(telemetry.port, "/metrics", Host=host)[0] == status


def test_health_follows_the_main_loop(telemetry: TelemetryServer, health: Health, clock: Clock):
    assert get(telemetry.port, "/healthz")[0] == 200
    assert get(telemetry.port, "/readyz")[0] == 503
    health.ready = True
    status, headers, body = get(telemetry.port, "/readyz")
    assert (status, headers.get_content_type()) == (200, "application/json")
    assert json.loads(body) == {"healthy": True, "ready": True, "silent_s": 0.0, "uptime_s": 0.0}
    clock.now_s += 10
    assert get(telemetry.port, "/healthz")[0] == get(telemetry.port, "/readyz")[0] == 503
    health.alive()
    assert get(telemetry.port, "/healthz")[0] == get(telemetry.port, "/readyz")[0] == 200


def test_other_pages_and_garbage(telemetry: TelemetryServer, capsys: pytest.CaptureFixture[str]):
    assert get(telemetry.port, "/")[0] == 404
    with socket.create_connection(("127.0.0.1", telemetry.port), timeout=DEADLINE_S) as peer:
        peer.sendall(b"\x00\xff garbage\r\n\r\n")
        assert b"400" in peer.recv(4096)
    assert get(telemetry.port, "/healthz")[0] == 200
    assert capsys.readouterr() == ("", ""), "no access log, no traceback"


def test_a_silent_peer_is_cut_off(health: Health, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server._Handler, "timeout", 0.05)
    with (
        TelemetryServer("127.0.0.1:0", health) as telemetry,
        socket.create_connection(("127.0.0.1", telemetry.port), timeout=DEADLINE_S) as peer,
    ):
        assert peer.recv(1) == b""


def test_a_peer_that_drips_is_cut_off(health: Health, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "_LONGEST_S", 0.3)
    with (
        TelemetryServer("127.0.0.1:0", health) as telemetry,
        socket.create_connection(("127.0.0.1", telemetry.port), timeout=DEADLINE_S) as peer,
    ):
        peer.settimeout(0.02)
        wait_for(lambda: _is_cut_off(peer), "the end of the connection")


def _is_cut_off(peer: socket.socket) -> bool:
    """Whether the other end hung up, after one more byte to it."""
    try:
        peer.send(b"G")
        return peer.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_only_so_many_peers_at_once(telemetry: TelemetryServer):
    peers = [socket.create_connection(("127.0.0.1", telemetry.port), timeout=DEADLINE_S) for _ in range(16)]
    with socket.create_connection(("127.0.0.1", telemetry.port), timeout=DEADLINE_S) as seventeenth:
        assert seventeenth.recv(1) == b""
    for peer in peers:
        peer.close()


def test_a_port_in_use_names_the_setting(telemetry: TelemetryServer, health: Health):
    second = TelemetryServer(f"127.0.0.1:{telemetry.port}", health, where="telemetry.engine")
    with pytest.raises(ConfigError, match=r"telemetry\.engine: .* another program has it; set telemetry\.engine to a"):
        second.start()
    assert second.port == 0
    second.close()


@pytest.mark.parametrize("bind", ["nonsense", "127.0.0.1:", "127.0.0.1:99999", ":7721"])
def test_unusable_addresses(health: Health, bind: str):
    with pytest.raises(ConfigError, match="expected host:port"):
        TelemetryServer(bind, health).start()


def test_empty_is_off(health: Health):
    with TelemetryServer("", health) as telemetry:
        assert telemetry.port == 0


def test_a_closed_server_may_be_started_again(health: Health):
    telemetry = TelemetryServer("127.0.0.1:0", health)
    for _ in range(2):
        telemetry.start()
        assert get(telemetry.port, "/healthz")[0] == 200
        telemetry.close()


def test_config():
    assert TelemetryConfig().engine == "127.0.0.1:7722"
    assert TelemetryConfig(streamer="").streamer == ""
    assert TelemetryConfig(engine="[::1]:7722").engine == "[::1]:7722"
    with pytest.raises(
        ValidationError, match=r"telemetry\.engine binds 0\.0\.0\.0:7722, which other machines can reach"
    ):
        TelemetryConfig(engine="0.0.0.0:7722")
    assert TelemetryConfig(engine="0.0.0.0:7722", insecure=True).insecure
    for wrong in ("7722", "localhost", "tcp://127.0.0.1:7722", "127.0.0.1:0"):
        with pytest.raises(ValidationError):
            TelemetryConfig(engine=wrong)


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_notify_reaches_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    path = str(tmp_path / "n.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(DEADLINE_S)
        manager.bind(path if kind == "path" else "\0" + path)
        monkeypatch.setenv("NOTIFY_SOCKET", path if kind == "path" else "@" + path)
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_notify_through_an_inherited_descriptor_needs_no_other(monkeypatch: pytest.MonkeyPatch):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ours, theirs:
        theirs.setblocking(False)
        ours.settimeout(DEADLINE_S)
        monkeypatch.setenv("EARMARK_NOTIFY", str(theirs.fileno()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            notify("WATCHDOG=1")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert ours.recv(100) == b"WATCHDOG=1"
        for _ in range(5000):
            notify("WATCHDOG=1")


def test_a_page_without_descriptors_waits_and_goes_on(telemetry: TelemetryServer, monkeypatch: pytest.MonkeyPatch):
    failures, paused = iter([errno.EMFILE, errno.ENFILE]), []

    def accept(self: object) -> object:
        if (number := next(failures, None)) is not None:
            raise OSError(number, "Too many open files")
        return socketserver.TCPServer.get_request(self)

    monkeypatch.setattr(server.WSGIServer, "get_request", accept)
    monkeypatch.setattr(server._pause, "wait", paused.append)
    assert get(telemetry.port, "/healthz")[0] in {200, 503}
    assert paused == [1.0, 1.0]


def test_notify_without_a_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    for address in (str(tmp_path / "nobody"), "@nobody-here", "vsock:1:2", "/" + "x" * 300):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1")


def test_notify_never_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = str(tmp_path / "n.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        for _ in range(5000):  # many more than its queue holds, and it reads none
            notify("WATCHDOG=1")
