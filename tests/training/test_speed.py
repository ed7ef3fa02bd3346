"""The fastest way of computing is chosen by what a step took, and by what else the machine has to do."""

import pytest

from earmark.training.speed import Pace, measured_pace


class Machine:
    """A clock that runs while steps are done, as long as a table says."""

    def __init__(self, step_s: dict[tuple[bool, int], float]) -> None:
        self._step_s, self.now = step_s, 0.0
        self.tried: list[tuple[bool, int]] = []

    def step(self, bf16: bool, threads: int) -> None:
        self.now += self._step_s[bf16, threads]
        self.tried.append((bf16, threads))


def chosen(step_s: dict[tuple[bool, int], float], scenes_s: float, **settled: object) -> tuple[bool, int]:
    machine = Machine(step_s)
    options = {"bf16": None, "threads": None, **settled}
    pace = measured_pace(machine.step, scenes_s, cores=2, clock=lambda: machine.now, **options)
    assert pace.step_s == pytest.approx(step_s[pace.bf16, pace.threads])
    return pace.bf16, pace.threads


def test_fewer_bits_are_used_only_where_they_are_faster():
    slow = {(False, 1): 1.0, (False, 2): 0.9, (True, 1): 2.0, (True, 2): 1.8}
    assert chosen(slow, scenes_s=0.2) == (False, 1)
    fast = {(bits, n): seconds / (3 if bits else 1) for (bits, n), seconds in slow.items()}
    assert chosen(fast, scenes_s=0.2)[0]


def test_a_second_thread_is_used_where_scenes_take_little():
    assert chosen({(False, 1): 1.0, (False, 2): 0.5}, scenes_s=0.01, bf16=False) == (False, 2)
    assert chosen({(False, 1): 1.0, (False, 2): 0.8}, scenes_s=0.9, bf16=False) == (False, 1)


def test_what_is_settled_is_not_tried():
    machine = Machine({})
    assert measured_pace(machine.step, 0.1, bf16=True, threads=3, cores=2) == Pace(True, 3, 0.0, 0.1)
    assert machine.tried == []
