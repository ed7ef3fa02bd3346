"""A clock that steps for some processes: their wall clock does, their monotonic one does not."""

import subprocess
import sys
import time

import pytest

from earmark.chaos.wallclock import WallClock

LOOK = "import datetime, time; print(time.time(), datetime.datetime.now().timestamp(), time.monotonic())"


@pytest.fixture
def clock(tmp_path):
    if not WallClock.is_possible():
        pytest.skip("a clock that steps needs gcc")
    made = WallClock(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("step_s", [0, 86_400, -86_400])
def test_it_steps(clock, step_s):
    clock.set(step_s)
    earliest, earliest_monotonic = time.time(), time.monotonic()
    told = subprocess.run(
        [sys.executable, "-c", LOOK], env=clock.environment, capture_output=True, text=True, check=True
    ).stdout
    now_s, same_s, monotonic_s = map(float, told.split())
    assert earliest + step_s <= now_s <= same_s <= time.time() + step_s
    assert earliest_monotonic <= monotonic_s <= time.monotonic()
