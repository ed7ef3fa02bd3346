import re
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from earmark.contracts.errors import ConfigError
from earmark.evaluation.annotations import (
    IGNORED_FILE,
    LabelledClip,
    LabelledEvent,
    inside_files,
    read_clips,
    read_ignored,
    read_tsv,
    write_tsv,
)
from earmark.evaluation.events import count_events, within_collar
from earmark.evaluation.psds import PSDS1, measure_psds
from earmark.evaluation.scoring import ScoredFiles

HEADER = "filename\tonset\toffset\tevent_label\n"


def test_what_is_written_reads_the_same(tmp_path: Path):
    annotations = {
        "b.wav": [LabelledEvent(0.0, 1.5, "dog"), LabelledEvent(1.5, 2.25, "dog")],
        "quiet.wav": [],
        "a.wav": [LabelledEvent(0.125, 10.0, "glass breaking")],
    }
    write_tsv(tmp_path / "truth.tsv", annotations)
    assert read_tsv(tmp_path / "truth.tsv") == annotations
    assert list(read_tsv(tmp_path / "truth.tsv")) == list(annotations)
    assert "quiet.wav\t\t\t\n" in (tmp_path / "truth.tsv").read_text()


def test_a_folder_may_have_ignored_extents(tmp_path: Path):
    assert read_ignored(tmp_path, ["a.wav"]) == {}
    extents = {"a.wav": [LabelledEvent(0.5, 1.0, "dog")], "b.wav": []}
    write_tsv(tmp_path / IGNORED_FILE, extents)
    assert read_ignored(tmp_path, ["a.wav", "b.wav", "c.wav"]) == extents
    with pytest.raises(ConfigError, match=r"ignored\.tsv: expected only files that truth\.tsv names, got 'b\.wav'"):
        read_ignored(tmp_path, ["a.wav"])


def test_other_columns_and_orders_are_read(tmp_path: Path):
    path = tmp_path / "truth.tsv"
    path.write_text("event_label\tnote\tonset\toffset\tfilename\ndog\tx\t2\t3\ta.wav\ndog\tx\t0\t1\ta.wav\n")
    assert read_tsv(path) == {"a.wav": [LabelledEvent(0, 1, "dog"), LabelledEvent(2, 3, "dog")]}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a.wav\t2\t1\tdog", "an onset before the offset, got 2 and 1"),
        ("a.wav\tnan\t1\tdog", "expected onset in seconds from the file's begin, got 'nan'"),
        ("a.wav\t0\tinf\tdog", "expected offset in seconds from the file's begin, got 'inf'"),
        ("a.wav\t-1\t1\tdog", "expected onset in seconds from the file's begin, got '-1'"),
        ("a.wav\tsoon\t1\tdog", "expected onset in seconds from the file's begin, got 'soon'"),
        ("a.wav\t\t1\tdog", "expected onset in seconds from the file's begin, got ''"),
        ("a.wav\t0", "expected offset in seconds"),
        ("a.wav\t0\t1\t", "expected an event_label"),
        ("\t0\t1\tdog", "expected a filename"),
        ("a.wav\t\t\t\na.wav\t0\t1\tdog", "both; remove its empty row"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, row: str, told: str):
    path = tmp_path / "truth.tsv"
    path.write_text(f"{HEADER}b.wav\t0\t1\tcat\n{row}\n")
    with pytest.raises(ConfigError) as error:
        read_tsv(path)
    assert told in str(error.value)
    assert f"{path}:{3 + row.count(chr(10))}" in str(error.value)


def test_an_event_of_no_length_is_left_out_with_a_warning(tmp_path: Path):
    path = tmp_path / "truth.tsv"
    path.write_text(f"{HEADER}a.wav\t5\t5\tdog\na.wav\t1\t2\tdog\nb.wav\t3\t3\tcat\n")
    with capture_logs() as logs:
        assert read_tsv(path) == {"a.wav": [LabelledEvent(1, 2, "dog")], "b.wav": []}
    assert [(log["row"], log["label"]) for log in logs] == [(f"{path}:2", "dog"), (f"{path}:4", "cat")]


@pytest.mark.parametrize(("offset_s", "n_warnings"), [(19.0, 0), (20.0, 0), (20.05, 0), (28.0, 1)])
def test_an_event_is_cut_at_the_end_of_its_file(offset_s: float, n_warnings: int):
    with capture_logs() as logs:
        found = inside_files({"f": [LabelledEvent(15, offset_s, "a")], "g": []}, {"f": 20.0, "g": 1.0})
    assert found == {"f": [LabelledEvent(15, min(offset_s, 20.0), "a")], "g": []}
    assert len(logs) == n_warnings


def test_an_event_after_the_end_of_its_file_is_refused():
    with pytest.raises(ConfigError, match=r"inside 'f', which is 20\.000 s long, got 'a' at 20\.000 s"):
        inside_files({"f": [LabelledEvent(20, 21, "a")]}, {"f": 20.0})


def test_a_cut_event_can_be_found():
    """The truth of case 24: an event of 13 s in what is left of its file, 5 s."""
    scores = np.zeros((200, 1), np.float32)
    scores[150:] = 0.9
    scored = ScoredFiles(("a",), 0.1, {"f": scores}, {"f": 20.0})
    for offset_s in (20.0, 28.0):
        truth = inside_files({"f": [LabelledEvent(15, offset_s, "a")]}, scored.durations_s)
        counts = count_events(truth, {"f": [LabelledEvent(15, 20.0, "a")]}, ["a"], within_collar()).total
        assert (counts.tp, counts.fp, counts.fn) == (1, 0, 0)
        assert measure_psds(truth, scored, PSDS1).score == pytest.approx(1.0)


def test_the_table_on_the_page_can_be_read(tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "training-data.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^```tsv\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "truth.tsv").write_text(table)
    assert read_tsv(tmp_path / "truth.tsv") == {
        "monday.wav": [LabelledEvent(12.4, 15.1, "dog"), LabelledEvent(14, 14.8, "car_horn")],
        "night.wav": [],
    }


def test_a_table_of_another_kind_is_refused(tmp_path: Path):
    (tmp_path / "comma.tsv").write_text("filename,onset,offset,event_label\n")
    with pytest.raises(ConfigError, match=r"comma\.tsv:1: expected a header with filename, onset"):
        read_tsv(tmp_path / "comma.tsv")
    (tmp_path / "binary.tsv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match="expected a readable table"):
        read_tsv(tmp_path / "binary.tsv")
    with pytest.raises(ConfigError, match="No such file"):
        read_tsv(tmp_path / "none.tsv")
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(ConfigError, match="expected a header"):
        read_tsv(tmp_path / "empty.tsv")


def test_clips_are_the_events_of_a_split(tmp_path: Path):
    path = tmp_path / "index.csv"
    path.write_text(
        "file,kind,split,label\na.ogg,event,dev,dog\nb.ogg,event,train,dog\nc.ogg,background,dev,wind\nd.ogg,event,dev,cat\n"
    )
    assert read_clips(path, "dev") == [LabelledClip("a.ogg", "dog"), LabelledClip("d.ogg", "cat")]
    with pytest.raises(ConfigError, match="split 'test', got none"):
        read_clips(path, "test")
    path.write_text("file,kind,split,label\na.ogg,event,dev,dog\na.ogg,event,dev,cat\n")
    with pytest.raises(ConfigError, match=r"index\.csv:3: expected each clip once"):
        read_clips(path, "dev")
