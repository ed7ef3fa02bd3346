"""What is special about the engine's sockets."""

import os
from pathlib import Path

import pytest
import zmq

from engine.gate import receiving_context
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
