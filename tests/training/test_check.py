"""What a check tells of labelled audio."""

import numpy as np
import pytest

from earmark.training.check import check
from earmark.training.fingerprint import ALIKE, alike, fingerprint
from tests.training.sound_files import bursts, write_pcm, write_sound, write_table

HEADER = "file,label,split,source,author,licence"


@pytest.fixture
def report(tmp_path):
    """Writes the files that lines name, unless they are there, and checks them."""

    def report(*lines, header=HEADER):
        folder = tmp_path / "data"
        for line in lines:
            if not (path := folder / line.split(",")[0]).exists():
                write_sound(path, 1.0)
        write_table(folder / "index.csv", header, *lines)
        return check(folder, tmp_path / "cache")

    return report


def test_counts(report):
    found = report("a.wav,dog,train,,me,CC0", "b.wav,dog,train,,me,CC-BY", "c.wav,dog,dev,,you,CC BY")
    assert [(c.kind, c.split, c.label, c.files, c.seconds) for c in found.counts] == [
        ("event", "dev", "dog", 1, 1.0),
        ("event", "train", "dog", 2, 2.0),
    ]
    assert (found.files, found.seconds, found.licences) == (3, 3.0, {"CC BY": 2, "CC0": 1})
    assert (found.exit_code, found.leaks, found.rejects, found.warnings) == (0, (), (), ())


def test_seconds_of_a_class_are_those_of_its_regions(report):
    found = report("a.wav,dog,train,0.1-0.3 0.5-1.05", "b.wav,dog,dev,", header="file,label,split,regions")
    assert [round(count.seconds, 3) for count in found.counts] == [1.0, 0.7]


def test_rejects_make_it_fail(report):
    found = report("a.wav,dog,train,,,CC0", "b.wav,dog,dev,,,CC0", ",dog,dev,,,CC0")
    assert (found.exit_code, [reject.reason for reject in found.rejects]) == (1, ["names no file"])


@pytest.mark.parametrize(("licence", "told"), [("CC BY-NC 3.0", "forbid"), ("", "not known"), ("ask Bob", "not known")])
def test_licences_to_look_at(report, licence, told):
    found = report("a.wav,dog,train,,,CC0", f"b.wav,dog,dev,,,{licence}")
    (warning,) = found.warnings
    assert told in warning
    assert warning.endswith(f"{licence or 'unknown'} (1 files)")
    assert found.exit_code == 0


class TestClasses:
    def test_one_that_a_split_lacks(self, report):
        found = report("a.wav,dog,train,,,CC0", "b.wav,cat,dev,,,CC0")
        assert found.warnings == ("classes without a file in train: cat", "classes without a file in dev: dog")

    def test_one_that_is_rare(self, report):
        many = [f"{i}.wav,dog,train,,,CC0" for i in range(10)]
        found = report(*many, "a.wav,cat,train,,,CC0", "b.wav,cat,dev,,,CC0", "c.wav,dog,dev,,,CC0")
        assert "classes differ much in train: dog has 10 files, cat has 1" in found.warnings


class TestLeaks:
    def test_of_a_source(self, report):
        found = report("a.wav,dog,train,freesound 7 (X),,CC0", "b.wav,dog,dev,https://freesound.org/s/sounds/7/,,CC0")
        (leak,) = found.leaks
        assert (leak.what, leak.name, leak.splits, leak.files) == (
            "source",
            "freesound 7",
            ("dev", "train"),
            ("a.wav", "b.wav"),
        )
        assert found.exit_code == 1

    def test_a_source_in_one_split_is_none(self, report):
        assert not report(
            "a.wav,dog,train,freesound 7,,CC0", "b.wav,dog,train,freesound 7,,CC0", "c.wav,dog,dev,,,CC0"
        ).leaks

    def test_a_collection_is_a_warning(self, report):
        found = report("a.wav,dog,train,my garden,,CC0", "b.wav,dog,dev,my garden,,CC0")
        assert (found.exit_code, len(found.warnings)) == (0, 1)
        assert found.warnings[0].endswith("who leaks inside is not seen: my garden")

    def test_a_group_of_ones_own(self, report):
        found = report("a.wav,dog,train,monday", "b.wav,dog,dev,monday", header="file,label,split,group")
        assert [(leak.what, leak.name) for leak in found.leaks] == [("source", "monday")]

    def test_of_an_author_is_a_warning(self, report):
        found = report(
            "a.wav,dog,train,,me,CC0", "b.wav,dog,dev,,me,CC0", "c.wav,dog,dev,,-,CC0", "d.wav,dog,train,,-,CC0"
        )
        assert found.exit_code == 0
        assert found.warnings == ("authors with the same class in several splits, 1: me, dog (2 files)",)

    def test_of_content(self, report, tmp_path):
        for name in ("a.wav", "b.wav"):
            write_pcm(tmp_path / "data" / name, bursts(1))
        found = report("a.wav,dog,train,,,CC0", "b.wav,dog,dev,,,CC0")
        assert [(leak.what, leak.files) for leak in found.leaks] == [("content", ("a.wav", "b.wav"))]
        assert found.exit_code == 1

    def test_the_same_content_in_one_split_is_a_warning(self, report, tmp_path):
        for name in ("a.wav", "b.wav"):
            write_pcm(tmp_path / "data" / name, bursts(1))
        found = report("a.wav,dog,train,,,CC0", "b.wav,dog,train,,,CC0", "c.wav,dog,dev,,,CC0")
        assert found.warnings == ("files with the same audio in one split, 1: a.wav = b.wav",)
        assert found.exit_code == 0

    def test_nearly_the_same_content_is_a_warning(self, report, tmp_path):
        write_pcm(tmp_path / "data" / "a.wav", bursts(1))
        write_pcm(tmp_path / "data" / "b.wav", bursts(1) // 2)
        found = report("a.wav,dog,train,,,CC0", "b.wav,dog,dev,,,CC0")
        assert found.warnings == ("files that sound like copies of each other, 1: a.wav ~ b.wav (dev and train)",)
        assert found.exit_code == 0


class TestFingerprint:
    @pytest.mark.parametrize("seed", range(8))
    def test_copies_are_alike_and_others_are_not(self, seed):
        pcm = bursts(seed)
        padded = np.pad(pcm, (700, 4000))
        prints = [fingerprint(each) for each in (pcm, padded, pcm // 2, bursts(seed + 100))]
        assert alike(prints) == [(0, 1), (0, 2), (1, 2)]

    @pytest.mark.parametrize("pcm", [[1], [0, 0, 5, 0], [-32768] * 9, [100] * 3200])
    def test_any_sound_has_one(self, pcm):
        vector, length = fingerprint(np.array(pcm, np.int16))
        assert np.isfinite(vector).all()
        assert length <= len(pcm)

    def test_threshold_and_nothing(self):
        assert 0.9 < ALIKE < 1
        assert alike([]) == []
