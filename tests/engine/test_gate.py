"""What is special about the engine's sockets."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import zmq

from earmark import client
from earmark.contracts.addresses import ack_address, needs_ipv6
from earmark.telemetry.refusals import Refusals
from engine.config import EngineConfig
from engine.gate import Gate, receiving_context
from streamer import sender
from tests.support.ports import free_address
from tests.support.waiting import wait_for


def n_batch() -> int:
    """How many threads of this process interrupt nobody."""
    policies = [os.sched_getscheduler(int(thread.name)) for thread in Path("/proc/self/task").iterdir()]
    return policies.count(os.SCHED_BATCH)


def test_its_threads_interrupt_no_step() -> None:
    before = n_batch()
    context = receiving_context()
    with context.socket(zmq.PULL):
        wait_for(lambda: n_batch() == before + 2)  # one reads, one closes sockets; each says so itself once it runs
    context.term()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_receives_where_it_may_not_choose_how_threads_are_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    before = n_batch()
    context = receiving_context()
    with context.socket(zmq.PULL) as blocks, context.socket(zmq.PUSH) as sender:
        blocks.bind("inproc://blocks")
        sender.connect("inproc://blocks")
        sender.send(b"block")
        assert blocks.recv() == b"block"
        assert n_batch() == before
    context.term()


def test_addresses_of_ipv6_are_bound_and_reached() -> None:
    address = free_address().replace("127.0.0.1", "[::1]")
    context: zmq.Context[Any] = zmq.Context()
    gate = Gate(context, EngineConfig(bind=(address,)), Refusals())
    push = sender._connect(context, zmq.PUSH, address, None)
    acks = context.socket(zmq.SUB)
    acks.subscribe(b"")
    client._connect(acks, ack_address(address), None)
    try:
        push.send(b"block")
        wait_for(lambda: gate.wait(10), "the block")
        wait_for(lambda: gate._acks.send(b"ack") is None and acks.poll(10), "an acknowledgement")
    finally:
        gate.close()
        context.destroy(linger=0)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://127.0.0.1:7701", False),
        ("tcp://localhost:7701", False),
        ("tcp://*:7701", False),
        ("tcp://nowhere.invalid:7701", False),
        ("ipc:///run/earmark.sock", False),
        ("tcp://[::1]:7701", True),
        ("tcp://[fe80::1%eth0]:7701", True),
    ],
)
def test_which_addresses_need_ipv6(address: str, expected: bool) -> None:
    assert needs_ipv6(address) is expected


def test_a_name_that_has_no_other_address_needs_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(_host: str, _port: None, family: socket.AddressFamily) -> list[object]:
        if family == socket.AF_INET:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [object()]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert needs_ipv6("tcp://six.example:7701")
