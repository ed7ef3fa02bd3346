"""The addresses that a service binds: all of them moved at once, and looked at before anything starts."""

import errno
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from earmark.app.config import DEFAULT_PORT_BASE, ServiceConfig
from earmark.app.config_file import Place, Problem
from earmark.contracts.addresses import ack_address
from earmark.contracts.config import Section
from earmark.contracts.errors import ConfigError

_PORT = re.compile(r":(\d{1,5})$")
_LOCAL = re.compile(r"tcp://(127\.\d+\.\d+\.\d+|localhost|\[::1\]|0\.0\.0\.0|\[::\]|\*):(?P<port>\d+)")
_LAST_PORT = 65_534
"""One less than there are: acknowledgements take the next one."""
_CONNECT_S = 1.0
S = TypeVar("S", bound=Section)


def move_ports(config: ServiceConfig) -> ServiceConfig:
    """The configuration with every address that it binds, and what finds them, moved as ``port_base`` says.

    An outbox at its default path gets a path of its own too, because two services cannot share one.

    Raises:
        ConfigError: A port would be none.
    """
    offset = config.port_base - DEFAULT_PORT_BASE
    if offset == 0:
        return config
    publishers, zeromq, http = config.publishers, config.publishers.zeromq, config.publishers.http
    own = {address: _moved(address, offset) for address in config.engine.bind}
    engines = tuple(_moved(engine, offset) if _is_own(engine, own) else engine for engine in config.streamer.engines)
    telemetry = {
        name: _moved(bind, offset) for name, bind in config.telemetry.model_dump().items() if _PORT.search(str(bind))
    }
    sinks: dict[str, object] = {}
    if zeromq is not None:
        addresses = {"bind": _moved(zeromq.bind, offset), "history_bind": _moved(zeromq.history_bind, offset)}
        sinks["zeromq"] = _changed(zeromq, addresses)
    if http is not None:
        sinks["http"] = _changed(http, {"bind": _moved(http.bind, offset)})
    return _changed(
        config,
        {
            "port_base": DEFAULT_PORT_BASE,
            "engine": _changed(config.engine, {"bind": tuple(own.values())}),
            "streamer": _changed(config.streamer, {"engines": engines}),
            "publishers": _changed(publishers, sinks),
            "telemetry": _changed(config.telemetry, telemetry),
            "outbox": _changed(config.outbox, {"path": _own_outbox(config)}),
        },
    )


def _changed(section: S, changes: Mapping[str, object]) -> S:
    """A copy that still says which fields somebody set: an address at its default may be taken."""
    was_set = set(section.model_fields_set)
    changed = section.model_copy(update=dict(changes))
    changed.model_fields_set.intersection_update(was_set)
    return changed


def _own_outbox(config: ServiceConfig) -> Path:
    path = config.outbox.path
    return path if "path" in config.outbox.model_fields_set else path.with_stem(f"{path.stem}-{config.port_base}")


def _is_own(engine: str, own: Mapping[str, str]) -> bool:
    """Whether a streamer finds one of this service's engines at an address."""
    if engine in own:
        return True
    local = _LOCAL.fullmatch(engine)
    bound = [match["port"] for address in own if (match := _LOCAL.fullmatch(address)) is not None]
    return local is not None and local["port"] in bound


def _moved(address: str, offset: int) -> str:
    match = _PORT.search(address)
    if match is None or address.startswith("ipc://"):
        return f"{address}.{offset:+d}"
    port = int(match[1]) + offset
    if not 0 < port <= _LAST_PORT:
        raise ConfigError(
            f"port_base: expected ports from 1 to {_LAST_PORT}, got {port} in place of {match[1]} in {address}; "
            "choose another"
        )
    return f"{address[: match.start(1)]}{port}"


def bound_addresses(config: ServiceConfig) -> Iterator[tuple[Place, str]]:
    """Every address that the service binds, ``tcp://host:port`` or ``ipc://path``, and where it is configured."""
    for index, address in enumerate(config.engine.bind):
        yield ("engine", "bind", index), address
        yield ("engine", "bind", index), ack_address(address)
    if zeromq := config.publishers.zeromq:
        yield ("publishers", "zeromq", "bind"), zeromq.bind
        yield ("publishers", "zeromq", "history_bind"), zeromq.history_bind
    if http := config.publishers.http:
        yield ("publishers", "http", "bind"), f"tcp://{http.bind}"
    if config.telemetry.engine:
        for shard in range(1, len(config.engine.bind) if config.engine.shards else 0):
            yield ("telemetry", "engine"), f"tcp://{config.telemetry.of_shard(shard)}"
    for name in ("streamer", "engine", "publishers", "supervisor"):
        if bind := getattr(config.telemetry, name):
            yield ("telemetry", name), f"tcp://{bind}"


def taken_addresses(config: ServiceConfig) -> list[Problem]:
    """Every address that another program has; none where only pages are taken that may be left out."""
    taken = [(place, address) for place, address in bound_addresses(config) if _is_taken(address)]
    if all(_may_be_left_out(place, config) for place, _ in taken):
        return []
    return [
        Problem(place, f"expected to bind {_as_configured(place, address)}, got: another program has it")
        for place, address in taken
    ]


def _as_configured(place: Place, address: str) -> str:
    return address if place[0] == "engine" or "zeromq" in place else address.removeprefix("tcp://")


def _may_be_left_out(place: Place, config: ServiceConfig) -> bool:
    """Whether nobody asked for this page: the service works without it."""
    if place == ("telemetry", "supervisor"):
        return "supervisor" not in config.telemetry.model_fields_set
    return place == ("publishers", "http", "bind") and "http" not in config.publishers.model_fields_set


def _is_taken(address: str) -> bool:
    if address.startswith("ipc://"):
        return _is_served(address.removeprefix("ipc://"))
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    host = "0.0.0.0" if host == "*" else host.strip("[]")  # noqa: S104 -- as ZeroMQ understands it
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind, protocol)) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(place)
    except OSError as error:  # an address that is not there yet is no other program's
        return error.errno == errno.EADDRINUSE
    return False


def _is_served(path: str) -> bool:
    try:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as tried:
            tried.settimeout(_CONNECT_S)
            tried.connect(path)
    except OSError:
        return False
    return True
