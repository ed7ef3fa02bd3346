"""A second service on one machine: which addresses are taken, and one flag that moves them all."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.app.config import DEFAULT_PORT_BASE, ServiceConfig
from earmark.app.live_config import LiveConfig
from earmark.app.load import load_config
from earmark.app.ports import bound_addresses, move_ports, taken_addresses
from earmark.app.service import ServedConfig
from earmark.contracts.errors import ConfigError
from tests.support.ports import free_address


@pytest.fixture
def listen() -> Iterator[object]:
    with ExitStack() as stack:

        def listen(address: str) -> None:
            host, _, port = address.removeprefix("tcp://").rpartition(":")
            listening = stack.enter_context(closing(socket.socket()))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, int(port)))
            listening.listen()

        yield listen


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "service.yaml"
    path.write_text(text)
    return path


def on_free_ports(tmp_path: Path) -> tuple[Path, list[str]]:
    """A file that names every address, and those that it names."""
    engine, events, history, page, *pages = (free_address() for _ in range(8))
    bare = [address.removeprefix("tcp://") for address in (page, *pages)]
    told = "streamer: '{}', engine: '{}', publishers: '{}', supervisor: '{}'".format(*bare[1:])
    path = written(
        tmp_path,
        f"engine: {{bind: ['{engine}']}}\n"
        f"streamer: {{engines: ['{engine}']}}\n"
        f"publishers:\n  zeromq: {{bind: '{events}', history_bind: '{history}'}}\n  http: {{bind: '{bare[0]}'}}\n"
        f"telemetry: {{{told}}}\n",
    )
    return path, [engine, events, history, page, *pages]


def test_every_taken_address_is_named_with_its_line(tmp_path, listen):
    path, (engine, _, history, page, _, telemetry, *_) = on_free_ports(tmp_path)
    live = LiveConfig.read(path)
    live.check_addresses()
    for address in (engine, history, page, telemetry):
        listen(address)
    with pytest.raises(ConfigError) as caught:
        live.check_addresses()
    *lines, hint = str(caught.value).splitlines()
    assert lines == [
        f"{path}:1: engine.bind[0]: expected to bind {engine}, got: another program has it",
        f"{path}:4: publishers.zeromq.history_bind: expected to bind {history}, got: another program has it",
        f"{path}:5: publishers.http.bind: expected to bind {page.removeprefix('tcp://')}, got: another program has it",
        f"{path}:6: telemetry.engine: expected to bind {telemetry.removeprefix('tcp://')}, got: another program has it",
    ]
    assert "--port-base" in hint


def test_the_port_of_acknowledgements_counts_too(tmp_path, listen):
    path, (engine, *_) = on_free_ports(tmp_path)
    host, _, port = engine.rpartition(":")
    listen(f"{host}:{int(port) + 1}")
    with pytest.raises(ConfigError, match=rf"engine\.bind\[0\]: expected to bind {host}:{int(port) + 1}"):
        LiveConfig.read(path).check_addresses()


def test_a_page_that_nobody_asked_for_stops_nothing(listen):
    page = free_address()
    config = load_config(None)
    moved = move_ports(config.model_copy(update={"port_base": DEFAULT_PORT_BASE + int(page.rpartition(":")[2]) - 7713}))
    assert moved.publishers.http.bind == page.removeprefix("tcp://")
    listen(page)
    assert taken_addresses(moved) == []


def test_an_address_that_is_not_there_yet_is_not_taken(tmp_path):
    path = written(tmp_path, "engine: {bind: ['tcp://192.0.2.1:7701'], insecure: true}")
    assert [p for p in taken_addresses(load_config(path)) if p.place[0] == "engine"] == []


def test_an_ipc_address_that_somebody_serves_is_taken(tmp_path):
    path = written(tmp_path, f"engine: {{bind: ['ipc://{tmp_path}/e']}}")
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(f"{tmp_path}/e")
        assert taken_addresses(load_config(path)) == [], "it was left by a process that is gone"
        listening.listen()
        assert taken_addresses(load_config(path))[0].place == ("engine", "bind", 0)


def ports(config: ServiceConfig) -> list[int]:
    return [int(address.rpartition(":")[2]) for _, address in bound_addresses(config)]


@given(st.integers(1024, 65_000))
def test_one_number_moves_every_port_and_nothing_else(base):
    config = ServiceConfig.model_validate({"port_base": base})
    if base > 65_534 - 23:
        return
    moved, default = move_ports(config), ServiceConfig()
    assert ports(moved) == [port + base - DEFAULT_PORT_BASE for port in ports(default)]
    assert moved.streamer.engines == moved.engine.bind
    assert move_ports(moved) == moved
    assert moved.model_fields_set == config.model_fields_set
    if base != DEFAULT_PORT_BASE:
        assert moved.outbox.path.name == f"outbox-{base}.db"


def test_addresses_of_the_file_move_too_and_those_of_other_machines_do_not(tmp_path):
    path = written(
        tmp_path,
        "port_base: 7800\n"
        "engine: {bind: ['tcp://0.0.0.0:9001', 'ipc:///run/e'], insecure: true}\n"
        "streamer: {engines: ['tcp://127.0.0.1:9001', 'ipc:///run/e', 'tcp://10.0.0.7:7701']}\n"
        "outbox: {path: /var/lib/mine.db}\n"
        "publishers: {http: null, zeromq: null}\n"
        "telemetry: {supervisor: ''}\n",
    )
    config = load_config(path)
    assert config.engine.bind == ("tcp://0.0.0.0:9101", "ipc:///run/e.+100")
    assert config.streamer.engines == ("tcp://127.0.0.1:9101", "ipc:///run/e.+100", "tcp://10.0.0.7:7701")
    assert config.outbox.path == Path("/var/lib/mine.db")
    assert (config.telemetry.supervisor, config.telemetry.engine) == ("", "127.0.0.1:7822")


def test_a_port_that_there_is_not_is_refused(tmp_path):
    path = written(tmp_path, "engine: {bind: ['tcp://127.0.0.1:65000']}\nport_base: 8700")
    with pytest.raises(ConfigError, match=r"service.yaml:2: port_base: expected ports from 1 to 65534, got 66000"):
        load_config(path)


@pytest.mark.parametrize("has_file", [True, False])
def test_children_read_what_the_flag_moved(tmp_path, has_file):
    path = written(tmp_path, "outbox: {max_age_days: 3}") if has_file else None
    live = LiveConfig.read(path, port_base=8700)
    with closing(ServedConfig(live)) as served:
        assert served.path is not None
        assert load_config(served.path) == live.config
    assert live.config.publishers.http.bind == "127.0.0.1:8713"
    if has_file:
        path.write_text("outbox: {max_age_days: 4}\nstreams: {hall: {source: silence}}")
        again = live.reread()
        assert (again.config.engine.bind, [*again.config.streams]) == (live.config.engine.bind, ["hall"])
        assert again.needs_restart == ("outbox.max_age_days",)
