"""A long run through the real processes: nothing is lost, and nothing grows. The hour is `benchmarks.bench_hour`."""

import pytest

from benchmarks.bench_hour import N_STREAMS, run

MINUTES = 10
SLACK_MB = 8
pytestmark = pytest.mark.slow


def test_memory_stays_flat_and_nothing_is_lost(tiny_bundle, tmp_path):
    course = run(tmp_path, 60 * MINUTES, bundle=tiny_bundle.folder)
    assert course.coverage == [1.0] * N_STREAMS
    assert course.gaps == 0
    assert course.refused == 0
    assert course.events > 0
    for name, held in course.resident_mb.items():
        assert held[-1] <= 1.1 * held[0] + SLACK_MB, f"{name}: {held[0]:.1f} MiB once warm, {held[-1]:.1f} in the end"
