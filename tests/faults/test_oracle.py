"""The oracle sees what it is there for: whatever is missing, too much, twice, out of order or miscounted."""

from types import SimpleNamespace

import pytest

from earmark.app.load import load_service
from earmark.chaos.oracle import Epoch, Reference, count_differences, epoch_differences, sink_differences
from earmark.chaos.staging import Staging
from earmark.outbox import OutboxReader
from tests.faults.staged import write_staging
from tests.support.audio import tones
from tests.support.simulation import Engine, make_records

RATE_HZ, SECONDS = 16_000, 4
END = SECONDS * RATE_HZ


@pytest.fixture(scope="module")
def reference(tiny_bundle, tmp_path_factory):
    path = write_staging(tmp_path_factory.mktemp("staging"), tiny_bundle)
    return Reference(Staging(load_service(path), {"gate": tones(5, SECONDS)}))


def run(bundle, outbox, reference, n_samples, *, is_last):
    """The events of an epoch that an engine heard up to a sample; another epoch follows where it is not the last."""
    engine = Engine(bundle, outbox)
    for record in make_records(reference.sounds["gate"]):
        if record.first_sample < n_samples or is_last:
            engine.deliver(record)
    engine.commit()
    if not is_last:
        engine.deliver(make_records(reference.sounds["gate"], epoch=8)[0])
    end = engine.outbox.retired_end("gate", 7)
    engine.die()
    reader = OutboxReader(outbox)
    events = [stored.event for stored in reader.read(0, 10_000)]
    reader.close()
    return Epoch("gate", 7, end, is_last=is_last), events


def test_an_undisturbed_run_is_as_expected(tiny_bundle, reference, tmp_path):
    epoch, told = run(tiny_bundle, tmp_path / "outbox.db", reference, END, is_last=True)
    assert epoch.end == END
    assert len(told) > 10
    assert epoch_differences(reference, epoch, told) == []


@pytest.mark.parametrize("n_samples", [5000, 17_000, 41_111])
def test_so_is_an_epoch_whose_streamer_died(tiny_bundle, reference, tmp_path, n_samples):
    epoch, told = run(tiny_bundle, tmp_path / "outbox.db", reference, n_samples, is_last=False)
    assert 0 < epoch.end <= n_samples + 1000
    assert {event.reason for event in told} <= {None, "interrupted"}
    assert epoch_differences(reference, epoch, told) == []
    assert epoch_differences(reference, SimpleNamespace(**{**vars(epoch), "end": epoch.end + 3200}), told)


def test_what_is_wrong_is_told(tiny_bundle, reference, tmp_path):
    epoch, told = run(tiny_bundle, tmp_path / "outbox.db", reference, END, is_last=True)
    first, *rest = told
    assert "missing onset" in epoch_differences(reference, epoch, rest)[0]
    for change in (
        {"onset_sample": first.onset_sample + 640},
        {"reason": "interrupted"},
        {"label": "no such label"},
    ):
        assert len(epoch_differences(reference, epoch, [first.model_copy(update=change), *rest])) == 2
    for change in ({"event_id": "0" * 32}, {"score_peak": first.score_peak - 0.01}, {"level_db": None}):
        assert len(epoch_differences(reference, epoch, [first.model_copy(update=change), *rest])) == 1
    cut = Epoch("gate", 7, END - 640, is_last=True)
    assert "ended at sample" in epoch_differences(reference, cut, told)[0]
    unknown = Epoch("gate", 7, None, is_last=False)
    assert "does not know" in epoch_differences(reference, unknown, told)[0]
    assert epoch_differences(reference, unknown, []) == []


def test_a_sink_has_everything_once_and_in_order(tiny_bundle, reference, tmp_path):
    _, told = run(tiny_bundle, tmp_path / "outbox.db", reference, END, is_last=True)
    assert sink_differences("sink", told, told) == []
    assert "lacks seq 1" in sink_differences("sink", told, told[1:])[0]
    assert "2 times" in sink_differences("sink", told, [*told, told[-1]])[0]
    assert "not in order" in sink_differences("sink", told, [*told[1:], told[0]])[0]
    assert "which the outbox lacks" in sink_differences("sink", told[:-1], told)[0]
    changed = [told[0].model_copy(update={"label": "other"}), *told[1:]]
    assert "another event" in sink_differences("sink", told, changed)[0]


def test_samples_are_counted_exactly():
    assert count_differences("gate", 100, {"analysed": 60.0, "lost": 40.0}) == []
    assert count_differences("gate", 100, {"analysed": 60.0, "lost": 39.0}) == [
        "gate: sent 100, but analysed 60 + lost 39 = 99"
    ]
