"""Signatures, certificates, and that no secret is ever shown."""

import base64
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError

from earmark.app.load import load_config
from earmark.app.show import as_yaml
from earmark.contracts.errors import ConfigError
from earmark.outbox.config import OutboxConfig
from publishers.webhook.config import WebhookConfig
from publishers.webhook.signature import read_secrets
from tests.publishers.hooks import Hook, metric
from tests.publishers.publishing import Engine
from tests.publishers.receiver import Receiver, Request
from tests.support.waiting import wait_for

RAW = bytes(range(32))
STANDARD = "whsec_" + base64.b64encode(RAW).decode()
PLAIN = "a plain text of some length"


def openssl_hmac(key: bytes, request: Request) -> str:
    """The signature that Standard Webhooks wants, as OpenSSL computes it."""
    content = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary"]
    digest = subprocess.run(command, input=content, capture_output=True, check=True).stdout
    return "v1," + base64.b64encode(digest).decode()


@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
@pytest.mark.parametrize(("secret", "key"), [(STANDARD, RAW), (PLAIN, PLAIN.encode())])
def test_openssl_agrees_with_the_signature(engine: Engine, outbox: OutboxConfig, mode: str, secret: str, key: bytes):
    receiver = Receiver()
    engine.commit(n=2)
    try:
        with Hook(outbox, receiver.url, mode=mode, secret=secret):
            wait_for(lambda: len(receiver.taken_ids) == 2)
    finally:
        receiver.close()
    for request in receiver.requests:
        assert request.headers["webhook-id"] == request.key
        assert request.headers["webhook-signature"] == openssl_hmac(key, request)


def test_two_secrets_sign_both(engine: Engine, outbox: OutboxConfig, tmp_path: Path):
    path = tmp_path / "secret"
    path.write_text(f"{STANDARD}\nanother-one-of-length\n")
    receiver = Receiver()
    engine.commit()
    try:
        with Hook(outbox, receiver.url, secret_file=path):
            wait_for(lambda: bool(receiver.taken))
    finally:
        receiver.close()
    (request,) = receiver.requests
    both = [openssl_hmac(RAW, request), openssl_hmac(b"another-one-of-length", request)]
    assert request.headers["webhook-signature"].split(" ") == both


def test_secrets_that_are_none(tmp_path: Path):
    (tmp_path / "empty").touch()
    for options, complaint in {
        ("secret", "HIDDEN"): "expected at least 16 bytes, got 6",
        ("secret", "whsec_HIDDEN*"): "expected Base64 behind whsec_",
        ("secret_file", str(tmp_path / "empty")): "got an empty file",
        ("secret_file", str(tmp_path / "none")): "No such file",
    }.items():
        config = WebhookConfig.model_validate({"url": "http://localhost", options[0]: options[1]})
        with pytest.raises(ConfigError, match=complaint) as caught:
            read_secrets(config, "publishers.webhooks.ops")
        assert f"publishers.webhooks.ops.{options[0]}" in str(caught.value)
        assert "HIDDEN" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "ftp://HIDDEN.example"},
        {"url": "https:///HIDDEN"},
        {"url": "https://host:HIDDEN/"},
        {"url": "https://host/HID DEN"},
        {"url": "http://h", "secret": "HIDDEN", "secret_file": "f"},
        {"url": "http://h", "headers": {"A": "HIDDEN\nB: c"}},
        {"url": "http://h", "headers": {"A b": "HIDDEN"}},
        {"url": "http://h", "headers": {"Webhook-Id": "HIDDEN"}},
        {"url": "http://h", "headers": {"content-TYPE": "HIDDEN"}},
        {"url": "http://h", "source_prefix": "two words"},
    ],
)
def test_what_cannot_be_used_is_refused_and_not_quoted(options: dict[str, object]):
    with pytest.raises(ValidationError) as caught:
        WebhookConfig.model_validate(options)
    assert all("HIDDEN" not in error["msg"] for error in caught.value.errors())


def test_no_secret_is_printed(tmp_path: Path):
    path = tmp_path / "e.yaml"
    path.write_text(
        "publishers: {webhooks: {ops: {url: 'https://HIDDEN:HIDDEN@hooks.example:8443/HIDDEN?t=HIDDEN', "
        "headers: {X-Any: HIDDEN}, secret: '${HOOK}'}}, notifications: {phone: {urls: ['json://HIDDEN']}}}"
    )
    config = load_config(path, {"HOOK": "HIDDEN-and-long-enough"})
    told = as_yaml(config) + repr(config) + config.model_dump_json()
    assert "HIDDEN" not in told
    assert "https://hooks.example:8443/***" in as_yaml(config)
    path.write_text(
        "publishers: {webhooks: {ops: {url: 'https://h', headers: 'HIDDEN'}}, notifications: {phone: {urls: HIDDEN}}}"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "HIDDEN" not in str(caught.value)


def tls_receiver(authority: trustme.CA, *names: str) -> Receiver:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return Receiver(context)


def test_a_certificate_of_the_right_authority(engine: Engine, outbox: OutboxConfig, tmp_path: Path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    receiver = tls_receiver(authority, "127.0.0.1")
    engine.commit(n=2)
    try:
        with Hook(outbox, receiver.url, ca_file=tmp_path / "ca.pem"):
            wait_for(lambda: len(receiver.taken) == 2)
    finally:
        receiver.close()
    assert receiver.seqs == [1, 2]


@pytest.mark.parametrize("wrong", ["authority", "name", "nothing known"])
def test_a_wrong_certificate_gets_nothing(engine: Engine, outbox: OutboxConfig, tmp_path: Path, wrong: str):
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
    receiver = (
        tls_receiver(trusted, "elsewhere.example") if wrong == "name" else tls_receiver(trustme.CA(), "127.0.0.1")
    )
    options = {} if wrong == "nothing known" else {"ca_file": tmp_path / "ca.pem"}
    before = metric("sink_failures_total")
    engine.commit()
    try:
        with Hook(outbox, receiver.url, max_attempts=2, **options) as hook:
            wait_for(lambda: bool(hook.dead()))
            assert "CERTIFICATE_VERIFY_FAILED" in hook.dead()[0].reason
    finally:
        receiver.close()
    assert metric("sink_failures_total") == before + 1
    assert receiver.requests == []


def test_a_file_without_certificates_is_named(outbox: OutboxConfig, tmp_path: Path):
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "none.pem"):
        with pytest.raises(ConfigError, match=r"publishers\.webhooks\.ops\.ca_file: expected certificates in"):
            Hook(outbox, "https://localhost", ca_file=tmp_path / name).__enter__()
