"""Lists of one's own: what is read, what is refused, and into which split it goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.contracts.errors import ConfigError
from earmark.training.index import COLUMNS, read_index, read_listing
from earmark.training.licences import allows_sale, normalised
from earmark.training.recording import Recording, parse_regions, united
from earmark.training.splits import group_of, with_splits
from tests.training.sound_files import write_sound, write_table


def write_list(folder, *lines, files=("a.wav", "b.wav")):
    for file in files:
        write_sound(folder / file)
    return write_table(folder / "index.csv", *lines)


def reasons(path):
    return [f"{reject.where}: {reject.reason}" for reject in read_listing(path).rejects]


class TestShortList:
    def test_file_and_label_are_enough(self, tmp_path):
        path = write_list(tmp_path, "file,label", "a.wav,gate", "b.wav,dog")
        first, second = read_index(tmp_path)
        assert (first.file, first.label, first.kind, first.licence, first.regions) == ("a.wav", "gate", "event", "", ())
        assert {first.split, second.split} <= {"train", "dev"}
        assert read_index(path) == [first, second]

    def test_any_name_and_a_byte_order_mark(self, tmp_path):
        write_sound(tmp_path / "a.wav")
        (tmp_path / "mine.csv").write_bytes("\ufefffile,label\r\na.wav,gate\r\n\r\n".encode())
        assert [recording.label for recording in read_index(tmp_path / "mine.csv")] == ["gate"]

    def test_two_classes_with_regions(self, tmp_path):
        write_list(tmp_path, "file,label,regions", "a.wav,gate,0.0-0.2 0.3-0.4", "a.wav,dog,0.1-0.2")
        gate, dog = read_index(tmp_path)
        assert (gate.regions, gate.also, dog.also) == (((0.0, 0.2), (0.3, 0.4)), ("dog",), ("gate",))
        assert gate.split == dog.split

    def test_full_list(self, tmp_path):
        values = "a.wav,event,validation,4,dog,0.5,0.1-0.2,CC0,me,freesound 77 (ESC-50)"
        write_list(tmp_path, ",".join(COLUMNS), values)
        expected = ("dev", "4", 0.5, "freesound 77")
        (recording,) = read_index(tmp_path)
        assert (recording.split, recording.fold, recording.seconds, recording.group) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("gone.wav,dog,,,", "there is no such file"),
        (",dog,,,", "names no file"),
        ("b.wav,,,,", "expected a label, because its kind is event"),
        ("b.wav,dog,,", "expected 5 cells as in the header, got 4"),
        ("b.wav,dog,-0.1-0.3,,", "a region begins before the file, at -0.1 s"),
        ("b.wav,dog,0.3-0.3,,", "a region does not end behind its onset: 0.3 to 0.3 s"),
        ("b.wav,dog,0.1-0.3 0.2-0.4,,", "two regions overlap: one ends at 0.3 s, the next begins at 0.2 s"),
        ("b.wav,dog,0.1,,", "expected regions like 0.5-1.25, got '0.1'"),
        ("b.wav,dog,0.1-9,0.5,", "the region 0.1-9 ends behind the file's end at 0.500 s"),
        ("b.wav,dog,,half,", "expected a number of seconds, got 'half'"),
        ("b.wav,dog,,nan,", "expected a number of seconds, got 'nan'"),
        ("b.wav,dog,,,practice", "expected a split out of train, dev, test, got 'practice'"),
        ("a.wav,dog,,,", "listed already, as 'gate', in index.csv:2; rows with several labels need regions"),
        ("a.wav,gate,,,", "listed already, with the same label, in index.csv:2"),
        ("a.wav,dog,,,dev", "listed already in index.csv:2, in another split (none)"),
    ],
)
def test_a_row_that_cannot_be_used_is_told_and_the_rest_goes_on(tmp_path, line, reason):
    write_list(
        tmp_path,
        "file,label,regions,seconds,split",
        "a.wav,gate,,,",
        line,
        "c.wav,dog,,,",
        files=("a.wav", "b.wav", "c.wav"),
    )
    listing = read_listing(tmp_path)
    (reject,) = listing.rejects
    assert (reject.where, [recording.file for recording in listing.recordings]) == ("index.csv:3", ["a.wav", "c.wav"])
    assert reason in reject.reason


def test_an_unknown_column_is_told(tmp_path):
    write_list(tmp_path, "file,label,licnce", "a.wav,gate,CC0")
    assert reasons(tmp_path) == ["index.csv:1: the column 'licnce' is unknown and not read; did you mean 'licence'?"]
    assert len(read_index(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("index.csv", b"file,kind\n", "lacks the columns"),
        ("index.csv", b"", "lacks the columns"),
        ("index.csv", b"file,label\n\xff\xfe,dog\n", "expected a table in UTF-8"),
        ("other.csv", b"path,class\n", "lacks the columns of every format"),
        ("other.tsv", b"filename\tonset\n", "lacks the column event_label"),
    ],
)
def test_a_list_of_no_format_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_index(tmp_path / name)


def test_a_folder_without_a_list_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"index\.csv"):
        read_index(tmp_path)
    with pytest.raises(ConfigError, match=r"index\.csv"):
        read_index(tmp_path / "none")


def recording(file, *, split="", fold="", source=""):
    return Recording(file, "event", split, "dog", 0.0, (), "", "", source, fold=fold, group=group_of(file, source))


class TestSplits:
    @given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["", "train", "dev"])), min_size=1, max_size=60))
    def test_one_source_is_never_in_two_splits_unless_the_list_says_so(self, rows):
        told = {source: split for source, split in rows if split}
        listed = [
            recording(f"{i}.wav", source=f"freesound {s}", split=told.get(s, "") if i % 2 else "")
            for i, (s, _) in enumerate(rows)
        ]
        splits = {}
        for each in with_splits(listed):
            assert splits.setdefault(each.group, each.split) == each.split

    def test_a_longer_list_moves_nothing(self):
        listed = [recording(f"{i}.wav") for i in range(300)]
        assert with_splits(listed)[:50] == with_splits(listed[:50])

    def test_a_fifth_is_dev(self):
        n_dev = sum(each.split == "dev" for each in with_splits([recording(f"{i}.wav") for i in range(3000)]))
        assert 540 < n_dev < 660

    def test_the_last_fold_is_dev(self):
        listed = with_splits([recording(f"{fold}.wav", fold=str(fold)) for fold in (1, 2, 10, 9)])
        assert [each.split for each in listed] == ["train", "train", "dev", "train"]

    @pytest.mark.parametrize(
        ("file", "source", "group"),
        [
            ("a.wav", "freesound 9032 (ESC-50)", "freesound 9032"),
            ("a.wav", "https://freesound.org/people/dog77/sounds/9032/", "freesound 9032"),
            ("speech/bed_9a7c1f83_nohash_1.ogg", "Speech Commands v0.01", "speaker 9a7c1f83"),
            ("a.wav", "rooms/Hall One.wav", "rooms/Hall One.wav"),
            ("a.wav", "Speech Commands v0.01", ""),
            ("a.wav", "DCASE 2019", ""),
        ],
    )
    def test_what_names_one_recording(self, file, source, group):
        assert group_of(file, source) == group


TIMES = st.integers(0, 1000).map(lambda ms: ms / 1000)


@given(st.lists(st.tuples(TIMES, TIMES).filter(lambda pair: pair[0] < pair[1]), max_size=8))
def test_united_regions_cover_the_same_time_and_can_be_written(regions):
    whole = united(regions)
    text = " ".join(f"{onset_s:.3f}-{offset_s:.3f}" for onset_s, offset_s in whole)
    assert parse_regions(text) == whole
    for at in (i / 2000 for i in range(1, 2000, 2)):
        assert any(a <= at < b for a, b in regions) == any(a <= at < b for a, b in whole)


@pytest.mark.parametrize(
    ("text", "name", "sale"),
    [
        ("CC BY", "CC BY", True),
        ("CC-BY", "CC BY", True),
        ("cc-by-4.0", "CC BY 4.0", True),
        ("CC BY 3.0", "CC BY 3.0", True),
        ("http://creativecommons.org/licenses/by/3.0/", "CC BY 3.0", True),
        ("http://creativecommons.org/licenses/by-nc/3.0/", "CC BY-NC 3.0", False),
        ("Attribution Noncommercial", "CC BY-NC", False),
        ("CC BY-NC-SA 4.0", "CC BY-NC-SA 4.0", False),
        ("CC BY-SA", "CC BY-SA", True),
        ("CC BY-ND 4.0", "CC BY-ND 4.0", None),
        ("CC0", "CC0", True),
        ("Creative Commons 0", "CC0", True),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0", True),
        ("PD", "public domain", True),
        ("CC Sampling+", "CC Sampling+", None),
        ("MIT", "MIT", True),
        ("own", "own", True),
        ("", "unknown", None),
        ("ask Bob", "ask Bob", None),
    ],
)
def test_licences(text, name, sale):
    assert (normalised(text), allows_sale(name)) == (name, sale)
