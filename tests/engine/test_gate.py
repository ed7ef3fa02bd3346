"""What is special about the engine's sockets."""

import os
from pathlib import Path

import pytest
import zmq

from engine.gate import receiving_context


def policies() -> list[int]:
    """How the threads of this process are scheduled."""
    return [os.sched_getscheduler(int(thread.name)) for thread in Path("/proc/self/task").iterdir()]


def test_its_threads_interrupt_no_step() -> None:
    before = policies()
    context = receiving_context()
    with context.socket(zmq.PULL):
        during = policies()
    context.term()

    assert during.count(os.SCHED_BATCH) == before.count(os.SCHED_BATCH) + 2  # one reads, one closes sockets
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_receives_where_it_may_not_choose_how_threads_are_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    before = policies()
    context = receiving_context()
    with context.socket(zmq.PULL) as blocks, context.socket(zmq.PUSH) as sender:
        blocks.bind("inproc://blocks")
        sender.connect("inproc://blocks")
        sender.send(b"block")
        assert blocks.recv() == b"block"
        assert policies().count(os.SCHED_BATCH) == before.count(os.SCHED_BATCH)
    context.term()
