"""Groups of labels: one score, one smoothing, events of their own."""

import numpy as np
import pytest

from earmark.contracts.bundle import Bundle, Smoothing, load_bundle
from earmark.contracts.errors import ConfigError
from engine.groups import OFFSET, ONSET, GroupConfig, Groups, with_groups
from tests.engine.test_analyser import long_tone
from tests.engine.test_smoothing import reference, run, smoother
from tests.support.audio import tones
from tests.support.simulation import Engine, make_records, stored_events


def test_a_group_begins_where_its_first_member_would(tiny_bundle):
    tuned = {"low": Smoothing(onset_threshold=0.2, offset_threshold=0.1), "top": Smoothing(onset_threshold=0.9)}
    spec = tiny_bundle.spec.model_copy(update={"smoothing_by_label": tuned})
    group = with_groups(Bundle(tiny_bundle.folder, spec), {"ends": GroupConfig(labels=("low", "top"))})
    scores = np.float32([[[0.2, 1, 1, 0.9], [0.19, 1, 1, 0.45], [0.6, 1, 1, 0], [0, 1, 1, 1]]])
    given = Groups(group.spec)(scores)
    np.testing.assert_array_equal(given[..., :4], scores)
    np.testing.assert_allclose(given[0, :, 4], [ONSET, 0.475, 0.75, 1.0], atol=1e-6)


def test_its_events_are_those_of_its_score(tiny_bundle):
    group = with_groups(tiny_bundle, {"ends": GroupConfig(labels=("low", "top"), min_duration_s=0.2)})
    smoothing = group.spec.smoothing_of("ends")
    assert (smoothing.onset_threshold, smoothing.offset_threshold, smoothing.min_duration_s) == (ONSET, OFFSET, 0.2)
    scores = np.random.default_rng(3).beta(0.3, 0.5, (500, 4)).repeat(4, axis=0)
    told = run(smoother(group.spec), 0, Groups(group.spec)(scores[None].astype(np.float32))[0])
    expected = reference(np.maximum(scores[:, 0], scores[:, 3]), smoothing, "ends")
    assert [event for event in told if event[0] == "ends"] == expected
    assert len(expected) > 20
    alone = run(smoother(tiny_bundle.spec), 0, scores)
    assert [event for event in told if event[0] != "ends"] == alone


def heard(bundle, outbox, records):
    engine = Engine(bundle, outbox)
    for record in records:
        engine.deliver(record)
    engine.commit()
    engine.die()


def test_a_crash_changes_no_event_of_a_group(tiny_bundle, tmp_path):
    grouped = with_groups(tiny_bundle, {"all": GroupConfig(labels=("low", "top"))})
    records = make_records(tones(5, 20))
    heard(grouped, tmp_path / "whole.db", records)
    heard(grouped, tmp_path / "broken.db", records[: len(records) // 2])
    heard(grouped, tmp_path / "broken.db", records)
    whole, broken = (of_group(tmp_path / name) for name in ("whole.db", "broken.db"))
    assert broken == whole
    assert len(whole) > 8


def test_a_group_that_is_no_more_ends_its_events(tiny_bundle, tmp_path):
    grouped = with_groups(tiny_bundle, {"all": GroupConfig(labels=tiny_bundle.spec.labels)})
    assert grouped.identity != tiny_bundle.identity
    records = make_records(long_tone(6))
    heard(grouped, tmp_path / "o.db", records[: len(records) // 2])
    assert [phase for _, phase, _ in of_group(tmp_path / "o.db")] == ["onset"]
    heard(tiny_bundle, tmp_path / "o.db", records)
    assert [(phase, reason) for _, phase, reason in of_group(tmp_path / "o.db")] == [
        ("onset", None),
        ("offset", "model_changed"),
    ]


def of_group(outbox):
    return [(e.event_id, e.phase, e.reason) for e in stored_events(outbox) if e.label == "all"]


@pytest.mark.parametrize(
    ("name", "group", "message"),
    [
        ("low", GroupConfig(labels=("top",)), "no label of"),
        ("more", GroupConfig(), "name its labels"),
        ("more", GroupConfig(labels=("siren",)), "has no label siren; it has low"),
        ("more", GroupConfig(labels=("hihg", "low")), "has no label hihg; did you mean high?"),
        ("more", GroupConfig(labels=("low",), offset_threshold=0.9), "offset_threshold <= onset_threshold"),
    ],
)
def test_what_is_no_group_is_refused(tiny_bundle, name, group, message):
    with pytest.raises(ConfigError, match=rf"engine\.groups\.{name}.*{message}"):
        with_groups(tiny_bundle, {name: group})


def test_the_bundles_own_groups_need_no_labels():
    bundle = with_groups(load_bundle("urban"), {"emergency": GroupConfig()})
    assert bundle.spec.event_labels[-1] == "emergency"
    assert "siren" in bundle.spec.groups["emergency"]
