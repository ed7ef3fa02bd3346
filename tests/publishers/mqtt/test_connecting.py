"""What stands between us and a broker: each has one clear line, and stops nobody else."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError
from structlog.testing import capture_logs

from earmark.contracts.errors import ConfigError
from earmark.outbox.config import OutboxConfig
from publishers.mqtt.config import MqttConfig
from publishers.mqtt.sink import MqttSink
from tests.publishers.mqtt.broker import PASSWORD, USER, Broker
from tests.publishers.mqtt.conftest import Start
from tests.publishers.mqtt.sounds import Sounds
from tests.publishers.test_publishers import cursor
from tests.support.ports import free_address
from tests.support.waiting import wait_for


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "special"
    folder.mkdir()
    return folder


@pytest.fixture
def started(folder: Path) -> Iterator[Callable[..., Broker]]:
    brokers: list[Broker] = []

    def make(settings: str = "", **options: bool) -> Broker:
        brokers.append(Broker(folder, settings, **options).start())
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.stop()


def with_certificate(folder: Path, certificate: trustme.LeafCert) -> str:
    """Lines of mosquitto's configuration."""
    certificate.private_key_pem.write_to_path(folder / "server.key")
    for index, pem in enumerate(certificate.cert_chain_pems):
        pem.write_to_path(folder / "server.pem", append=index > 0)
    return f"certfile {folder}/server.pem\nkeyfile {folder}/server.key"


def complaints(start: Start, sounds: Sounds, outbox: OutboxConfig, **settings: object) -> list[str]:
    """What is logged of a broker that cannot be used, while another sink gets an event."""
    with capture_logs() as logs:
        service = start(is_connected=False, **settings)
        sounds.commit()
        wait_for(lambda: cursor(outbox, "jsonl") == 1)
        wait_for(lambda: len([log for log in logs if log["event"] == "sink failed"]) >= 3)
        service.stop()
    assert cursor(outbox, "mqtt") == 0
    waits_s = [log["retry_s"] for log in logs if log["event"] == "sink failed"]
    assert waits_s[-1] > waits_s[0]
    assert PASSWORD not in str(logs)
    assert "nonsense" not in str(logs)
    return [log["error"] for log in logs if log["log_level"] in {"warning", "error"}]


def test_a_wrong_password(start: Start, sounds: Sounds, outbox: OutboxConfig, started: Callable[..., Broker]):
    port = started(password=True).port
    errors = complaints(start, sounds, outbox, port=port, username=USER, password="nonsense")  # noqa: S106
    assert set(errors) == {f"publishers.mqtt (127.0.0.1:{port}): the broker refuses the connection: Not authorized"}


def test_a_wrong_host(start: Start, sounds: Sounds, outbox: OutboxConfig):
    errors = complaints(start, sounds, outbox, host="broker.invalid")
    assert all("publishers.mqtt (broker.invalid:" in error and "known" in error.lower() for error in errors)


def test_nobody_there(start: Start, sounds: Sounds, outbox: OutboxConfig):
    port = int(free_address().rsplit(":", 1)[1])
    errors = complaints(start, sounds, outbox, port=port)
    assert set(errors) == {f"publishers.mqtt (127.0.0.1:{port}): Connection refused"}


@pytest.mark.parametrize("wrong", ["expired", "name", "authority"])
def test_a_certificate_that_is_no_good(  # noqa: PLR0917 -- fixtures
    start: Start,
    sounds: Sounds,
    outbox: OutboxConfig,
    started: Callable[..., Broker],
    folder: Path,
    authority: trustme.CA,
    wrong: str,
):
    signer = trustme.CA() if wrong == "authority" else authority
    name = "elsewhere.example" if wrong == "name" else "127.0.0.1"
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificate = signer.issue_cert(name, not_after=yesterday if wrong == "expired" else None)
    port = started(with_certificate(folder, certificate)).port
    ca_file = folder.parent / "ca.pem"
    errors = complaints(start, sounds, outbox, port=port, tls={"ca_file": ca_file})
    words = {
        "expired": "certificate has expired",
        "name": "IP address mismatch",
        "authority": "unable to get local issuer",
    }
    assert all(f"(127.0.0.1:{port}): the broker's certificate is not accepted: " in error for error in errors)
    assert all(words[wrong] in error for error in errors)


def test_a_port_without_tls(start: Start, sounds: Sounds, outbox: OutboxConfig, started: Callable[..., Broker]):
    errors = complaints(start, sounds, outbox, port=started().port, tls={})
    assert all("Connection reset by peer" in error or "no encrypted connection" in error for error in errors)


def test_tls_with_a_password_in_a_file(  # noqa: PLR0917 -- fixtures
    start: Start,
    sounds: Sounds,
    started: Callable[..., Broker],
    folder: Path,
    authority: trustme.CA,
    outbox: OutboxConfig,
):
    settings = with_certificate(folder, authority.issue_cert("127.0.0.1"))
    port = started(settings, password=True).port
    (folder / "secret").write_text(PASSWORD + "\n")
    tls = {"ca_file": folder.parent / "ca.pem"}
    start(is_connected=False, port=port, tls=tls, username=USER, password_file=folder / "secret")
    sounds.commit(n=500)
    wait_for(lambda: cursor(outbox, "mqtt") == 500)


def test_a_certificate_instead_of_a_password(  # noqa: PLR0917 -- fixtures
    start: Start,
    sounds: Sounds,
    started: Callable[..., Broker],
    folder: Path,
    authority: trustme.CA,
    outbox: OutboxConfig,
):
    settings = with_certificate(folder, authority.issue_cert("127.0.0.1"))
    ca_file = folder.parent / "ca.pem"
    port = started(f"{settings}\ncafile {ca_file}\nrequire_certificate true\nuse_identity_as_username true").port
    ours = authority.issue_cert("earmark@example.org", common_name="earmark")
    ours.private_key_and_cert_chain_pem.write_to_path(folder / "ours.pem")
    errors = complaints(start, sounds, outbox, port=port, tls={"ca_file": ca_file})
    assert all(f"(127.0.0.1:{port}): " in error for error in errors)
    start(is_connected=False, port=port, tls={"ca_file": ca_file, "cert_file": folder / "ours.pem"})
    wait_for(lambda: cursor(outbox, "mqtt") == 1)


def test_what_an_access_list_forbids_is_named(
    start: Start, sounds: Sounds, outbox: OutboxConfig, started: Callable[..., Broker], folder: Path
):
    (folder / "access").write_text("topic readwrite earmark/available\ntopic read #\n")
    port = started(f"acl_file {folder / 'access'}").port
    errors = complaints(start, sounds, outbox, port=port)
    expected = f"publishers.mqtt (127.0.0.1:{port}): the broker refuses earmark/events: Not authorized"
    assert any(error == f"{expected}; allow it in the broker's access list" for error in errors)


def test_states_that_are_forbidden_hold_no_event_back(
    start: Start, sounds: Sounds, outbox: OutboxConfig, started: Callable[..., Broker], folder: Path
):
    (folder / "access").write_text("topic readwrite earmark/available\ntopic readwrite earmark/events\n")
    port = started(f"acl_file {folder / 'access'}").port
    with capture_logs() as logs:
        start(is_connected=False, port=port)
        sounds.commit(n=30)
        wait_for(lambda: cursor(outbox, "mqtt") == 30)
        wait_for(lambda: any("the broker refuses earmark/gate/" in str(log.get("error")) for log in logs))
        sounds.commit(n=30)
        wait_for(lambda: cursor(outbox, "mqtt") == 60)


def test_stopping_never_waits_for_a_broker(start: Start, sounds: Sounds, broker: Broker):
    """It is put to sleep with events on their way; `Service.stop` has a deadline of its own."""
    service = start()
    assert broker._process is not None
    broker._process.send_signal(19)
    sounds.commit(n=100)
    with capture_logs() as logs:
        service.stop()
    broker._process.send_signal(18)
    assert "a sink did not end in time" not in [log["event"] for log in logs]


def test_config_refusals():
    refused = {
        "unencrypted; set tls": {"host": "broker.example", "username": "u", "password": "p"},
        "a username": {"host": "localhost", "password": "p"},
        "one of password": {"host": "localhost", "username": "u", "password": "p", "password_file": "p"},
        "beginning of topics": {"host": "localhost", "prefix": "a/#"},
        "cert_file beside": {"host": "localhost", "tls": {"key_file": "k"}},
        "got a_b twice": {"host": "localhost", "homeassistant": {"labels": ["a b", "a-b"]}},
    }
    for words, settings in refused.items():
        with pytest.raises(ValidationError, match=words):
            MqttConfig.model_validate(settings)
    config = MqttConfig(host="broker.example", username="u", password="nonsense", insecure=True)  # noqa: S106
    assert "nonsense" not in f"{config!r}{config.model_dump_json()}{MqttSink(config, list)._access!r}"
    assert (config.chosen_port, MqttConfig(host="h", tls={}).chosen_port) == (1883, 8883)


def test_files_that_cannot_be_used_are_named(tmp_path: Path):
    missing, empty = tmp_path / "missing", tmp_path / "empty"
    empty.write_text("")
    for name, settings in (
        ("password_file", {"username": "u", "password_file": missing}),
        ("password_file", {"username": "u", "password_file": empty}),
        (r"tls\.ca_file", {"tls": {"ca_file": missing}}),
        (r"tls\.ca_file", {"tls": {"ca_file": empty}}),
        (r"tls\.cert_file", {"tls": {"cert_file": empty}}),
    ):
        with pytest.raises(ConfigError, match=rf"publishers\.mqtt\.{name}: expected .*, got"):
            MqttSink(MqttConfig.model_validate({"host": "localhost", **settings}), list)
