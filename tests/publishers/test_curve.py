"""Who may subscribe, where the publishers ask for keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from pydantic import ValidationError
from structlog.testing import capture_logs

from earmark.client import Subscription, subscribe
from earmark.contracts.curve import CurveClient
from earmark.contracts.errors import ConfigError
from earmark.links import door
from earmark.links.door import Door
from earmark.outbox.config import OutboxConfig
from publishers.config import ZeroMqConfig
from tests.publishers.publishing import Engine, Service, take
from tests.support.keys import Keys, refused
from tests.support.waiting import wait_for


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def service(outbox: OutboxConfig, keys: Keys) -> Iterator[Service]:
    service = Service(outbox, curve=keys.server)
    yield service
    service.stop()


def listen(service: Service, client: CurveClient, **options: object) -> Subscription:
    return service.subscribe(key_file=client.key_file, server_key_file=client.server_key_file, **options)


def test_a_key_that_may_hear_of_events_does(engine: Engine, service: Service, keys: Keys):
    service.start()
    engine.commit(n=2)
    with listen(service, keys.client("ann", events=True), since=0) as events:
        assert take(events, 2) == [1, 2]
        engine.commit()
        assert take(events, 1) == [3]


@pytest.mark.parametrize("who", ["nobody", "a streamer", "plain text"])
def test_others_hear_nothing(engine: Engine, service: Service, keys: Keys, who: str):
    service.start()
    engine.commit()
    reason = "handshake" if who == "plain text" else "unknown_key"
    before = refused(reason)
    client = keys.client("bob", streams=("gate",) if who == "a streamer" else ())
    options = {"since": 0, "timeout_s": 2}
    with service.subscribe(**options) if who == "plain text" else listen(service, client, **options) as events:
        wait_for(lambda: refused(reason) > before, "the refusal to be counted")
        assert take(events, 1) == []


def test_a_revoked_subscriber_hears_nothing_more_and_others_miss_nothing(engine: Engine, service: Service, keys: Keys):
    service.start()
    ann, bob = keys.client("ann", events=True), keys.client("bob", events=True)
    with listen(service, ann, since=0) as hers, listen(service, bob, since=0, timeout_s=3) as his:
        engine.commit()
        assert (take(hers, 1), take(his, 1)) == ([1], [1])
        before = refused("unknown_key")
        keys.revoke("bob")
        wait_for(lambda: refused("unknown_key") > before, "bob to be cut off")
        engine.commit(n=3)
        assert take(his, 1) == []
        assert take(hers, 3) == [2, 3, 4]


def test_a_list_that_can_be_read_again_counts_though_nothing_was_written(keys: Keys, monkeypatch: pytest.MonkeyPatch):
    """As where somebody mends its rights."""
    keys.client("ann", events=True)
    context = zmq.Context()
    made = Door(context, keys.server, lambda client: client.events, "publishers.zeromq.curve")
    try:
        keys.revoke("ann")
        made._seen = ()
        with monkeypatch.context() as patched, capture_logs() as logged:
            patched.setattr(door, "read_allow_list", lambda _path: (_ for _ in ()).throw(ConfigError("no")))
            made._look()
            made._look()
            assert [line["log_level"] for line in logged] == ["error"]
        made._look()
        assert not made.allowed.clients
    finally:
        made.close()
        context.destroy(linger=0)


def test_unusable_keys_are_told(keys: Keys):
    client = keys.client("ann")
    with pytest.raises(ConfigError, match="expected key_file and server_key_file together"):
        subscribe(key_file=client.key_file)
    with pytest.raises(ConfigError, match="expected an earmark-public-key, got an earmark-secret-key"):
        subscribe(key_file=client.key_file, server_key_file=client.key_file)
    with pytest.raises(ValidationError, match=r"set publishers\.zeromq\.curve"):
        ZeroMqConfig.model_validate({"bind": "tcp://0.0.0.0:7711"})
    assert ZeroMqConfig(bind="tcp://0.0.0.0:7711", curve=keys.server).curve
