"""Who may look, over what, and what a server does with those who may not."""

import socket
import ssl
import threading
import time
from unittest.mock import Mock

import httpx
import pytest
import trustme
from pydantic import ValidationError
from structlog.testing import capture_logs

import publishers.http.gate
from earmark.contracts.errors import ConfigError
from earmark.telemetry.metrics import REGISTRY
from publishers.config import PublishersConfig
from publishers.http.config import HttpConfig
from publishers.http.protocol import DRAIN_S, HEADER_S, PatientProtocol
from publishers.service import Publishers
from tests.publishers.http.serving import http_config
from tests.support.waiting import DEADLINE_S

TOKEN = "a-token-of-many-letters"  # noqa: S105 -- opens nothing
PASSWORD = "correct horse"  # noqa: S105 -- opens nothing


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(publishers.http.gate, "WRONG_S", 0.0)


def test_who_guesses_waits_and_is_counted_and_named_once(serve, connect, monkeypatch):
    monkeypatch.setattr(publishers.http.gate, "WRONG_S", 0.3)
    client = connect(serve(http_config(token=TOKEN)))

    def n_wrong() -> float:
        return REGISTRY.get_sample_value("earmark_refused_records_total", {"reason": "wrong_password"}) or 0.0

    before = n_wrong()
    assert client.get("/").status_code == 401
    assert n_wrong() == before
    with capture_logs() as logs:
        began_s = time.monotonic()
        for guess in ("first-guess-of-many", "second-guess-of-many"):
            assert client.get("/", headers={"Authorization": f"Bearer {guess}"}).status_code == 401
        assert time.monotonic() - began_s >= 0.6
    assert n_wrong() == before + 2
    refused = [line for line in logs if line.get("reason") == "wrong_password"]
    assert [line["sender"] for line in refused] == ["127.0.0.1"]
    assert "guess" not in str(refused)


def test_a_bearer_token_opens_and_nothing_else_does(serve, connect, tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    client = connect(serve(http_config(token_file=tmp_path / "token")))
    for path in (
        "/",
        "/app.js",
        "/api/v1/streams",
        "/api/v1/events/stream",
        "/api/v1/live",
        "/metrics",
        "/openapi.json",
        "/x",
    ):
        refused = client.get(path)
        assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
        assert "Bearer" in refused.headers["www-authenticate"]
        assert TOKEN not in refused.text
    for header in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", f"Digest {TOKEN}", "Basic !", "Basic", TOKEN):
        assert client.get("/api/v1/streams", headers={"Authorization": header}).status_code == 401
    assert client.get("/api/v1/streams", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
    assert client.get("/", auth=("anybody", TOKEN)).status_code == 200
    for path in ("/healthz", "/readyz"):
        assert client.get(path).status_code == 200


def test_a_password_opens_to_its_user(serve, connect):
    client = connect(serve(http_config(user="ann", password=PASSWORD)))
    assert client.get("/api/v1/streams", auth=("ann", PASSWORD)).status_code == 200
    for pair in (("bob", PASSWORD), ("ann", PASSWORD + "!"), ("ann", "")):
        refused = client.get("/api/v1/streams", auth=pair)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
    assert client.get("/api/v1/streams", headers={"Authorization": f"Bearer {PASSWORD}"}).status_code == 401
    document = client.get("/openapi.json", auth=("ann", PASSWORD)).json()
    assert "401" in document["paths"]["/api/v1/events"]["get"]["responses"]
    assert set(document["components"]["securitySchemes"]) == {"token", "password"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"bind": "0.0.0.0:7713"}, "without authentication"),
        ({"bind": "192.168.1.5:7713", "insecure": True}, "without authentication"),
        ({"bind": "[::]:7713", "token": TOKEN}, "without TLS"),
        ({"token": TOKEN, "token_file": "t"}, "one of token and token_file"),
        ({"cert_file": "c"}, "cert_file and key_file together"),
        ({"bind": "7713"}, "host:port"),
        ({"bind": "localhost:99999"}, "host:port"),
        ({"password": PASSWORD, "user": "a:b"}, "without a colon"),
    ],
)
def test_what_cannot_be_safe_is_refused(options, expected):
    with pytest.raises(ValidationError, match=expected) as refused:
        HttpConfig(**options)
    assert PASSWORD not in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_what_other_machines_may_reach():
    assert HttpConfig(bind="0.0.0.0:7713", token=TOKEN, insecure=True).has_auth
    assert HttpConfig(bind="0.0.0.0:7713", password=PASSWORD, cert_file="c", key_file="k").has_auth


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"token": "short"}, "publishers.http.token: expected at least 16 bytes, got 5"),
        ({"password_file": "/nowhere/p"}, "publishers.http.password_file: expected a password in /nowhere/p"),
        ({"cert_file": "/nowhere/c", "key_file": "/nowhere/k"}, "expected a certificate"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(outbox, options, expected):
    config = PublishersConfig(zeromq=None, http=http_config(**options))
    with pytest.raises(ConfigError, match=expected) as refused:
        Publishers(config, outbox).run(None)
    assert "\n" not in str(refused.value)


def test_a_port_that_is_taken_stops_only_who_asked_for_it(outbox, tmp_path, serve):
    taken = serve().config.http
    other = outbox.model_copy(update={"path": tmp_path / "other.db"})
    with pytest.raises(ConfigError, match="another program has it"):
        Publishers(PublishersConfig(zeromq=None, http=taken), other).run(None)
    defaults = PublishersConfig(zeromq=None).__dict__ | {"http": taken}
    stop = threading.Event()
    with capture_logs() as logs:
        Publishers(PublishersConfig.model_construct(set(), **defaults), other).run(stop, on_ready=stop.set)
    assert "there is no page" in [entry["event"] for entry in logs]


def test_secrets_are_never_shown():
    config = HttpConfig(token=TOKEN, password=PASSWORD)
    for shown in (repr(config), str(config), config.model_dump_json()):
        assert TOKEN not in shown
        assert PASSWORD not in shown


@pytest.fixture
def certificate(tmp_path):
    authority, made = trustme.CA(), {"cert_file": tmp_path / "cert.pem", "key_file": tmp_path / "key.pem"}
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(made["key_file"])
    issued.cert_chain_pems[0].write_to_path(made["cert_file"])
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    return made


def test_tls(engine, serve, connect, certificate, tmp_path):
    service = serve(http_config(token=TOKEN, **certificate))
    trust = ssl.create_default_context(cafile=tmp_path / "authority.pem")
    client = connect(service, verify=trust, headers={"Authorization": f"Bearer {TOKEN}"})
    with client.follow() as messages:
        engine.commit()
        assert [event["seq"] for event in messages.take(1)] == [1]
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{service.config.http.bind}/healthz")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://{service.config.http.bind}/healthz")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(tmp_path / "authority.pem")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://{service.config.http.bind}/healthz", verify=old)


def test_a_name_that_is_not_ours_is_refused_while_nobody_is_asked_who_they_are(serve, connect):
    client = connect(serve(http_config(hosts=("earmark.lan",))))
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", ""):
        assert client.get("/api/v1/streams", headers={"Host": host}).status_code == 421
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:7713", "[::1]:7713", "earmark.lan"):
        assert client.get("/api/v1/streams", headers={"Host": host}).status_code == 200


def test_every_answer_is_hardened(serve, connect):
    client = connect(serve())
    for path in ("/", "/app.js", "/api/v1/streams", "/nothing", "/healthz"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] in {"no-store", "no-cache"}
        assert "set-cookie" not in headers
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_nothing_takes_a_body(serve, connect):
    client = connect(serve())
    for options in ({"content": b"x"}, {"content": iter([b"x"])}):
        answer = client._http.request("GET", "/api/v1/streams", **options)
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert client.get("/api/v1/streams").status_code == 200
    assert client.get("/api/v1/streams", headers={"X-Long": "x" * 600_000}).status_code == 400


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET"]
)
def test_who_never_finishes_a_request_is_cut_off(serve, monkeypatch, said):
    monkeypatch.setattr("publishers.http.protocol.HEADER_S", 0.2)
    host, _, port = serve().config.http.bind.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection:
        connection.sendall(said)
        while connection.recv(4096):
            pass


def test_who_takes_no_answers_is_cut_off_when_its_time_is_over():
    """Too little may be left for the server to notice; closing alone waits for the peer, however long."""
    timers = []
    protocol = PatientProtocol.__new__(PatientProtocol)
    protocol.cycle, protocol.transport = None, Mock()
    protocol.loop = Mock(call_later=lambda delay_s, act: timers.append((delay_s, act)))
    protocol._await_head()
    (head_s, give_up), *_ = timers
    give_up()
    assert head_s == HEADER_S
    protocol.transport.close.assert_called_once_with()
    assert timers[1:] == [(DRAIN_S, protocol.transport.abort)]


def test_a_handshake_has_as_long_as_a_request(serve, certificate, monkeypatch):
    monkeypatch.setattr("publishers.http.server.HEADER_S", 0.2)
    host, _, port = serve(http_config(token=TOKEN, **certificate)).config.http.bind.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S / 2) as connection:
        assert connection.recv(64) == b""


def test_connections_have_a_bound(serve):
    service = serve(http_config(max_connections=4))
    host, _, port = service.config.http.bind.rpartition(":")
    held = [socket.create_connection((host, int(port)), timeout=DEADLINE_S) for _ in range(5)]
    try:
        held[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert held[-1].recv(64).startswith(b"HTTP/1.1 503")
    finally:
        for connection in held:
            connection.close()
