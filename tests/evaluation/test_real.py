"""Real recordings: what the list says, what is found and what is wrong by it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.contracts.errors import ConfigError
from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.real import Detections, RealRecording, covered_s, measure_real, read_real

HEADER = "file,expected,allowed,seconds,kind,title\n"
LABELS = ("dog", "rain", "siren", "speech")
DURATION_S = 10.0


def recording(file: str = "a.ogg", expected: str = "", allowed: str = "", kind: str = "event") -> RealRecording:
    return RealRecording(file, expected, frozenset(allowed.split()), kind, "", DURATION_S)


def measure(recordings, found, labels=LABELS):
    everything = {one.file: found.get(one.file, []) for one in recordings}
    return measure_real(recordings, everything, dict.fromkeys(everything, DURATION_S), labels)


def write(tmp_path: Path, rows: str, header: str = HEADER) -> Path:
    (tmp_path / "a.ogg").write_bytes(b"")
    (tmp_path / "b.ogg").write_bytes(b"")
    (tmp_path / "real.csv").write_text(header + rows)
    return tmp_path / "real.csv"


def test_a_list_is_read_in_its_order(tmp_path: Path):
    path = write(tmp_path, "b.ogg,dog,rain  wind,10.5,event,A dog\na.ogg,,,3,music,Piano\n")
    assert read_real(path) == [
        RealRecording("b.ogg", "dog", frozenset({"rain", "wind"}), "event", "A dog", 10.5),
        RealRecording("a.ogg", "", frozenset(), "music", "Piano", 3.0),
    ]


def test_the_list_on_the_page_can_be_read(tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "training-data.md").read_text(encoding="utf-8")
    (table,) = [
        text for text in re.findall(r"^```csv\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if "expected" in text
    ]
    (tmp_path / "real.csv").write_text(table)
    for name in ("street.wav", "piano.wav"):
        (tmp_path / name).write_bytes(b"")
    assert read_real(tmp_path / "real.csv") == [
        RealRecording("street.wav", "siren", frozenset({"car_horn", "engine"}), "event", "Fire engine passes", 31.5),
        RealRecording("piano.wav", "", frozenset(), "music", "Piano", 120.0),
    ]


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ("", "expected a row for each recording, got none"),
        (",dog,,1,event,\n", r"real\.csv:2: expected a file, got an empty column"),
        ("a.ogg,dog,,1,,\n", r"real\.csv:2: expected a kind, got an empty column"),
        ("a.ogg,dog rain,,1,event,\n", "expected at most one class in the column expected, got 'dog rain'"),
        ("a.ogg,dog,,soon,event,\n", "expected the recording's length in seconds, got 'soon'"),
        ("a.ogg,dog,,0,event,\n", "expected the recording's length in seconds, got '0'"),
        ("a.ogg,dog,,inf,event,\n", "expected the recording's length in seconds, got 'inf'"),
        ("a.ogg,dog,,1,event,\na.ogg,,,1,event,\n", r"real\.csv:3: expected each file once, got 'a.ogg' again"),
        ("gone.ogg,dog,,1,event,\n", r"real\.csv:2: expected an audio file at .*gone\.ogg, found none"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, rows: str, error: str):
    with pytest.raises(ConfigError, match=error):
        read_real(write(tmp_path, rows))


def test_a_list_without_a_column_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"real\.csv:1: expected a header with file, .*; add allowed"):
        read_real(write(tmp_path, "a.ogg,dog,1,event,\n", "file,expected,seconds,kind,title\n"))


def test_a_sound_is_found_by_any_event_of_its_class():
    recordings = [recording("a", "dog"), recording("b", "dog"), recording("c", "rain", "dog")]
    measures = measure(
        recordings,
        {"a": [LabelledEvent(9.0, 9.1, "dog"), LabelledEvent(1.0, 2.0, "dog")], "c": [LabelledEvent(0, 1, "dog")]},
    )
    assert (measures.total.found, measures.total.asked, measures.total.wrong) == (1, 3, Detections())
    assert (measures.by_label["dog"].found, measures.by_label["dog"].asked) == (1, 2)
    assert (measures.by_label["rain"].found, measures.by_label["rain"].asked) == (0, 1)


def test_wrong_time_counts_overlaps_once_and_ends_with_the_recording():
    events = [LabelledEvent(1, 4, "dog"), LabelledEvent(3, 5, "siren"), LabelledEvent(9, 12, "dog")]
    measures = measure([recording("a", "rain", "speech")], {"a": [*events, LabelledEvent(0, 10, "speech")]})
    (one,) = measures.recordings
    assert measures.total.wrong == Detections(3, 5.0)
    assert one.wrong == {"dog": Detections(2, 4.0), "siren": Detections(1, 2.0)}
    assert one.right == ("speech",)
    assert measures.total.wrong_share == 0.5
    assert measures.total.wrong_per_hour == 3 * 360


def test_kinds_add_up():
    recordings = [recording("a", "dog"), recording("b", kind="music"), recording("c", "rain", kind="event")]
    found = {"a": [LabelledEvent(0, 1, "dog")], "b": [LabelledEvent(0, 2, "rain")], "c": [LabelledEvent(0, 1, "dog")]}
    measures = measure(recordings, found)
    assert list(measures.by_kind) == ["event", "music"]
    assert (measures.by_kind["event"].asked, measures.by_kind["event"].found) == (2, 1)
    assert measures.by_kind["event"].duration_s == 20
    assert measures.by_kind["music"].wrong == Detections(1, 2.0)
    assert measures.by_kind["music"].found_share != measures.by_kind["music"].found_share  # NaN
    assert sum(measures.by_kind.values(), start=type(measures.total)()) == measures.total


def test_a_class_that_the_list_did_not_listen_for_is_reported_apart():
    recordings = [recording("a", "dog"), recording("b", kind="music"), recording("c", kind="music")]
    found = {
        "a": [LabelledEvent(0, 1, "music")],
        "b": [LabelledEvent(0, 4, "music"), LabelledEvent(5, 6, "music"), LabelledEvent(0, 1, "chainsaw")],
        "c": [LabelledEvent(0, 10, "music")],
    }
    measures = measure(recordings, found, (*LABELS, "chainsaw", "music"))
    assert measures.unjudged == {"music": {"event": Detections(1, 1.0), "music": Detections(3, 15.0)}}
    assert "music" not in measures.by_label
    assert measures.total.wrong == Detections(1, 1.0)  # no row names chainsaws, but lists are made with them in mind
    assert measures.by_label["chainsaw"].wrong == Detections(1, 1.0)
    named = measure([*recordings, recording("d", allowed="music")], found, (*LABELS, "music"))
    assert named.unjudged == {}
    assert named.total.wrong.n_events == 5


def test_recordings_that_ask_for_a_class_that_the_detector_lacks_are_left_out():
    measures = measure([recording("a", "dog"), recording("b", "cat"), recording("c")], {}, ("dog",))
    assert measures.total.asked == 1
    assert measures.left_out == {"cat": 1}


TIMES = st.floats(0, 15, allow_subnormal=False)
EVENTS = st.lists(
    st.builds(lambda a, b, label: LabelledEvent(min(a, b), max(a, b), label), TIMES, TIMES, st.sampled_from(LABELS))
)
RECORDINGS = st.builds(
    lambda expected, allowed: recording("a", expected, " ".join(allowed)),
    st.sampled_from(("", *LABELS)),
    st.sets(st.sampled_from(LABELS)),
)


@given(events=EVENTS)
def test_covered_time_is_within_the_recording_and_the_sum_of_its_parts(events: list[LabelledEvent]):
    covered = covered_s(events, DURATION_S)
    lengths = [max(0.0, min(event.offset_s, DURATION_S) - event.onset_s) for event in events]
    assert covered <= DURATION_S
    assert max(lengths, default=0.0) <= covered + 1e-9
    assert covered <= sum(lengths) + 1e-9


@given(events=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20))))
def test_covered_time_is_what_counting_each_tick_gives(events: list[tuple[int, int]]):
    ticks = {tick for first, n in events for tick in range(first, first + n) if tick < 50}
    as_events = [LabelledEvent(float(first), float(first + n), "dog") for first, n in events]
    assert covered_s(as_events, 50.0) == len(ticks)


@given(one=RECORDINGS, events=EVENTS, more=st.sampled_from(LABELS))
def test_an_allowed_class_never_makes_more_wrong(one: RealRecording, events: list[LabelledEvent], more: str):
    before = measure([one], {"a": events}).total
    after = measure([recording("a", one.expected, " ".join(one.allowed | {more}))], {"a": events}).total
    assert after.wrong.n_events <= before.wrong.n_events
    assert after.wrong.seconds <= before.wrong.seconds + 1e-9
    assert (after.asked, after.found) == (before.asked, before.found)


@given(one=RECORDINGS, events=EVENTS)
def test_every_event_in_the_recording_is_right_or_wrong(one: RealRecording, events: list[LabelledEvent]):
    (measured,) = measure([one], {"a": events}).recordings
    inside = {event.label for event in events if event.onset_s < DURATION_S}
    assert set(measured.right) | set(measured.wrong) == inside
    assert set(measured.right) & set(measured.wrong) == set()
    assert max((some.seconds for some in measured.wrong.values()), default=0.0) <= measured.counts.wrong.seconds + 1e-9


@pytest.mark.data
def test_the_list_beside_the_checkout_can_be_read(data_folder: Path):
    recordings = read_real(data_folder / "real.csv")
    assert {one.kind for one in recordings} == {"event", "ambience", "music", "speech_more", "unlabelled"}
    assert sum(bool(one.expected) for one in recordings) == 95
