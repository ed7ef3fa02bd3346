"""The network in the lab passes everything on, until it is told not to."""

import socket

import pytest

from earmark.chaos.proxy import Proxy
from earmark.chaos.staging import free_ports
from tests.support.waiting import DEADLINE_S


@pytest.fixture
def server():
    """Listens where an engine would take blocks."""
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as listening:
        listening.settimeout(DEADLINE_S)
        yield listening


@pytest.fixture
def proxy(server):
    made = Proxy(*free_ports(1), server.getsockname()[1])
    yield made
    made.close()


def connect(proxy, server):
    near = socket.create_connection(("127.0.0.1", proxy.port), DEADLINE_S)
    far, _ = server.accept()
    far.settimeout(DEADLINE_S)
    return near, far


def receive(end, n_bytes):
    got = b""
    while len(got) < n_bytes:
        piece = end.recv(n_bytes - len(got))
        assert piece
        got += piece
    return got


def is_broken(end):
    try:
        return end.recv(1) == b""
    except ConnectionResetError:
        return True


def test_bytes_pass_both_ways(proxy, server):
    near, far = connect(proxy, server)
    with near, far:
        sent = bytes(range(256)) * 1000
        near.sendall(sent)
        assert receive(far, len(sent)) == sent
        far.sendall(b"back")
        assert receive(near, 4) == b"back"


def test_a_reset_breaks_and_a_new_connection_lives(proxy, server):
    near, far = connect(proxy, server)
    with near, far:
        near.sendall(b"x")
        assert receive(far, 1) == b"x"
        proxy.reset()
        assert is_broken(near)
        assert is_broken(far)
    near, far = connect(proxy, server)
    with near, far:
        near.sendall(b"y")
        assert receive(far, 1) == b"y"


def test_a_cut_refuses(proxy, server):
    proxy.is_cut = True
    with socket.create_connection(("127.0.0.1", proxy.port), DEADLINE_S) as near:
        assert is_broken(near)
    proxy.is_cut = False
    near, far = connect(proxy, server)
    near.close()
    far.close()


def test_stuck_holds_everything_back_and_loses_nothing(proxy, server):
    near, far = connect(proxy, server)
    with near, far:
        proxy.is_stuck = True
        near.sendall(b"late")
        far.settimeout(0.2)
        with pytest.raises(TimeoutError):
            far.recv(1)
        proxy.is_stuck = False
        far.settimeout(DEADLINE_S)
        assert receive(far, 4) == b"late"
