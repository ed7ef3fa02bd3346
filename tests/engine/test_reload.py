"""Thresholds that change while an event is open, and engines that die around it."""

import pytest

from earmark.contracts.config import SmoothingOverride
from engine.smoothing import Smoother
from tests.support.audio import tones
from tests.support.simulation import Engine, essence, make_records, run_undisturbed, stored_events


@pytest.fixture(scope="module")
def records():
    return make_records(tones(36, 20))


def changed(bundle, **change):
    """Every label of the stream smoothed otherwise."""
    override = SmoothingOverride(**change)
    spec = bundle.spec
    return {"gate": {label: override.apply(spec.smoothing_of(label)) for label in spec.event_labels}}


def run(bundle, path, records, at, smoothing, *, crashes=()):
    """The events of a run whose thresholds change before record ``at``; it crashes before these records."""
    engine, now = Engine(bundle, path), {}
    i = 0
    while i < len(records):
        if i == at and not now:
            now = {"smoothing": smoothing}
            engine.analyser.set_smoothing(smoothing)
            engine.commit()
        if i in crashes:
            crashes = tuple(crash for crash in crashes if crash != i)
            engine.die()
            engine = Engine(bundle, path, **now)
            i = 0  # a ring that still holds everything
        engine.deliver(records[i])
        engine.commit()
        i += 1
    engine.die()
    return stored_events(path)


def test_the_same_thresholds_change_nothing(tiny_bundle, tmp_path, records):
    undisturbed = run_undisturbed(tiny_bundle, tmp_path / "undisturbed.db", records)
    spec = tiny_bundle.spec
    same = {"gate": {label: spec.smoothing_of(label) for label in spec.event_labels}}
    for at in (3, 77, 200):
        assert essence(run(tiny_bundle, tmp_path / f"{at}.db", records, at, same)) == essence(undisturbed)


@pytest.mark.parametrize("change", [{"onset_threshold": 1.0}, {"offset_threshold": 0.05}, {"min_gap_s": 2.0}])
def test_a_crash_after_the_change_changes_no_event(tiny_bundle, tmp_path, records, change):
    smoothing = changed(tiny_bundle, **change)
    at = 100
    expected = run(tiny_bundle, tmp_path / "expected.db", records, at, smoothing)
    for crash in (at + 1, at + 20):
        got = run(tiny_bundle, tmp_path / f"{crash}.db", records, at, smoothing, crashes=(crash,))
        assert essence(got) == essence(expected)


def test_what_is_open_is_judged_by_the_new_thresholds(tiny_bundle, tmp_path, records):
    """With an offset threshold of almost 0 nothing that is open ends but with the stream."""
    undisturbed = run_undisturbed(tiny_bundle, tmp_path / "undisturbed.db", records)
    at = 100
    events = run(tiny_bundle, tmp_path / "changed.db", records, at, changed(tiny_bundle, offset_threshold=1e-6))
    sample = records[at].first_sample
    earlier = [
        event
        for event in undisturbed
        if event.decided_at and (event.offset_sample or event.onset_sample) < sample - 16_000
    ]
    told = {(event.event_id, event.phase) for event in events}
    assert earlier
    assert {(event.event_id, event.phase) for event in earlier} <= told, "what was told stays told"
    ends = [event for event in events if event.phase == "offset" and event.offset_sample > sample + 16_000]
    assert ends
    assert {event.reason for event in ends} == {"end"}
    assert len(told) == len(events), "none twice"


def test_reconfiguring_forgets_nothing(tiny_bundle):
    smoother = Smoother(tiny_bundle.spec)
    smoother.grow(1)
    smoother.configure(0, {})
    before = smoother.save(0)
    smoother.reconfigure(0, changed(tiny_bundle, onset_threshold=0.9)["gate"])
    assert smoother.save(0) == before
