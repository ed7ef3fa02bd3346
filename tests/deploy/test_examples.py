"""The example of a Raspberry Pi and a server: both load, and they fit each other."""

import pytest

from earmark.app.load import load_config, load_service
from tests.deploy.tools import DEPLOY

PI, SERVER = (DEPLOY / "examples" / name for name in ("raspberry-pi.yaml", "server.yaml"))


@pytest.mark.parametrize("path", [PI, SERVER], ids=lambda path: path.stem)
def test_it_loads(path):
    load_service(path, {})


def test_they_fit_each_other():
    pi, server = load_config(PI, {}), load_config(SERVER, {})
    assert set(pi.streams) <= set(server.streams), "coverage of a stream that is not named would count from its start"
    assert pi.streamer.ring_s == server.streamer.ring_s
    ports = {address.rpartition(":")[2] for address in server.engine.bind}
    assert {address.rpartition(":")[2] for address in pi.streamer.engines} <= ports
