"""Public data sets as they are downloaded, in small."""

import pytest

from earmark.training.index import read_index, read_listing
from tests.training.sound_files import write_sound, write_table


def by_file(path):
    return {recording.file: recording for recording in read_index(path)}


class TestEsc50:
    @pytest.fixture
    def esc50(self, tmp_path):
        lines = ["filename,fold,target,category,esc10,src_file,take"]
        for fold in (1, 4, 5):
            lines += [
                f"{fold}-10{fold}-A-0.wav,{fold},0,dog,True,10{fold},A",
                f"{fold}-20{fold}-B-36.wav,{fold},36,vacuum_cleaner,False,20{fold},B",
            ]
            for name in (f"{fold}-10{fold}-A-0.wav", f"{fold}-20{fold}-B-36.wav"):
                write_sound(tmp_path / "audio" / name)
        write_table(tmp_path / "meta" / "esc50.csv", *lines)
        return tmp_path

    def test_folds_and_sources(self, esc50):
        found = by_file(esc50)
        assert {file: recording.split for file, recording in found.items() if "-A-" in file} == {
            "audio/1-101-A-0.wav": "train",
            "audio/4-104-A-0.wav": "train",
            "audio/5-105-A-0.wav": "dev",
        }
        dog = found["audio/1-101-A-0.wav"]
        assert (dog.label, dog.group, dog.fold, dog.licence) == ("dog", "freesound 101", "1", "CC BY 3.0")
        assert found["audio/1-201-B-36.wav"].licence == "CC BY-NC 3.0"

    def test_each_clip_has_its_own_licence(self, esc50):
        credit = (
            "- [1-201-B.ogg]: clip derived from x by y.wav (http://www.freesound.org/people/z/sounds/201/) by Z Y [CC0]"
        )
        write_table(esc50 / "LICENSE", "# ESC-50", credit)
        clip = by_file(esc50)["audio/1-201-B-36.wav"]
        assert (clip.licence, clip.author) == ("CC0", "Z Y")

    def test_the_table_itself(self, esc50):
        files = by_file(esc50 / "meta" / "esc50.csv")
        assert "../audio/1-101-A-0.wav" in files
        assert len(files) == 6


def test_urbansound8k(tmp_path):
    table = write_table(
        tmp_path / "metadata" / "UrbanSound8K.csv",
        "slice_file_name,fsID,start,end,salience,fold,classID,class",
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark",
        "100263-2-0-117.wav,100263,58.5,62.5,1,10,2,children_playing",
        "9-2-0-1.wav,9,58.5,62.5,1,10,2,children_playing",
    )
    write_sound(tmp_path / "audio" / "fold5" / "100032-3-0-0.wav")
    write_sound(tmp_path / "audio" / "fold10" / "100263-2-0-117.wav")
    dog, children = read_index(tmp_path)
    assert (dog.label, dog.split, dog.group, dog.licence) == ("dog_bark", "train", "freesound 100032", "CC BY-NC 3.0")
    assert (children.split, children.file) == ("dev", "audio/fold10/100263-2-0-117.wav")
    (reject,) = read_listing(table).rejects
    assert (reject.where, reject.reason) == ("UrbanSound8K.csv:4", "there is no such file")


class TestFsdKaggle:
    HEADER = "fname,labels,freesound_id,license"

    def test_as_zenodo_has_it(self, tmp_path):
        meta, name = tmp_path / "FSDKaggle2019.meta", "FSDKaggle2019.audio_"
        curated = ['0a.wav,"Walk_and_footsteps,Slam",77,Creative Commons 0', "0b.wav,Bark,78,Attribution Noncommercial"]
        write_table(meta / "train_curated_post_competition.csv", self.HEADER, *curated, "f76181c4.wav,Bark,79,CC0")
        write_table(
            meta / "train_noisy_post_competition.csv",
            "fname,labels,flickr_video_URL,license",
            "0c.wav,Bark,http://f/1,CC-BY",
        )
        write_table(
            meta / "test_post_competition.csv", "fname,labels,usage,freesound_id,license", "0d.wav,Bark,Public,80,CC0"
        )
        write_table(meta / "vocabulary.csv", "0,Accordion,/m/0mkg")
        for part, files in {"train_curated": "ab", "train_noisy": "c", "test": "d"}.items():
            for file in files:
                write_sound(tmp_path / f"{name}{part}" / f"0{file}.wav")
        listing = read_listing(tmp_path)
        found = {(recording.file, recording.label): recording for recording in listing.recordings}
        walk = found[f"{name}train_curated/0a.wav", "Walk_and_footsteps"]
        assert (walk.also, walk.group, walk.fold) == (("Slam",), "freesound 77", "train_curated")
        assert found[f"{name}train_curated/0a.wav", "Slam"].split == walk.split
        assert found[f"{name}train_noisy/0c.wav", "Bark"].split == "train"
        assert found[f"{name}test/0d.wav", "Bark"].split == "test"
        assert [reject.reason for reject in listing.rejects] == ["the makers of the set know that its label is wrong"]

    def test_as_kaggle_has_it(self, tmp_path):
        write_table(tmp_path / "train_curated.csv", "fname,labels", '0a.wav,"Bark,Slam"', "0b.wav,")
        write_table(tmp_path / "sample_submission.csv", "fname,Bark,Slam", "00.wav,0,0")
        write_sound(tmp_path / "train_curated" / "0a.wav")
        listing = read_listing(tmp_path)
        assert [recording.label for recording in listing.recordings] == ["Bark", "Slam"]
        assert [reject.reason for reject in listing.rejects] == ["expected a label, found none"]

    def test_the_table_with_licences_is_the_better_one(self, tmp_path):
        write_table(tmp_path / "train_curated.csv", "fname,labels", "0a.wav,Bark")
        write_table(tmp_path / "meta" / "train_curated_post_competition.csv", self.HEADER, "0a.wav,Bark,7,CC0")
        write_sound(tmp_path / "train_curated" / "0a.wav")
        assert [recording.licence for recording in read_index(tmp_path)] == ["CC0"]


class TestDcase:
    HEADER = "filename onset offset event_label"

    def test_beside_the_table(self, tmp_path):
        table = write_table(
            tmp_path / "gold.tsv", self.HEADER, "a.wav 0.1 0.2 Dog", "a.wav 0.15 0.3 Dog", "a.wav 0.2 0.4 Cat"
        )
        write_sound(tmp_path / "audio" / "a.wav")
        dog, cat = read_index(table)
        assert (dog.file, dog.label, dog.regions, dog.also) == ("audio/a.wav", "Dog", ((0.1, 0.3),), ("Cat",))
        assert (cat.regions, cat.split) == (((0.2, 0.4),), dog.split)
        assert read_index(tmp_path) == [dog, cat]

    def test_desed(self, tmp_path):
        metadata, audio = tmp_path / "metadata", tmp_path / "audio"
        write_table(metadata / "train" / "synthetic20" / "soundscapes.tsv", self.HEADER, "1.wav 0.0 0.2 Dog")
        write_table(metadata / "train" / "weak.tsv", "filename event_labels", "w.wav Dog,Cat")
        write_table(metadata / "train" / "unlabel_in_domain.tsv", "filename", "u.wav")
        write_table(metadata / "validation" / "validation.tsv", self.HEADER, "v.wav 0.0 0.2 Cat", "quiet.wav   ")
        write_table(metadata / "validation" / "test_dcase2018.tsv", self.HEADER, "v.wav 0.0 0.2 Cat")
        write_table(metadata / "eval" / "public.tsv", self.HEADER, "e.wav 0.0 0.2 Dog")
        files = ["train/synthetic20/soundscapes/1.wav", "train/weak/w.wav", "validation/v.wav", "validation/quiet.wav"]
        for file in (*files, "eval/public/e.wav"):
            write_sound(audio / file)
        listing = read_listing(tmp_path)
        assert {(r.file, r.label, r.split, r.kind, r.regions) for r in listing.recordings} == {
            ("audio/train/synthetic20/soundscapes/1.wav", "Dog", "train", "event", ((0.0, 0.2),)),
            ("audio/train/weak/w.wav", "Dog", "train", "event", ()),
            ("audio/train/weak/w.wav", "Cat", "train", "event", ()),
            ("audio/validation/v.wav", "Cat", "dev", "event", ((0.0, 0.2),)),
            ("audio/validation/quiet.wav", "", "dev", "recording", ()),
            ("audio/eval/public/e.wav", "Dog", "test", "event", ((0.0, 0.2),)),
        }
        assert listing.rejects == ()
        assert listing.notes == ("metadata/train/unlabel_in_domain.tsv has no labels and is not read",)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("a.wav -1 0.2 Dog", "begins before the file"),
            ("a.wav 0.2 0.1 Dog", "does not end behind its onset"),
            ("a.wav 0.2 nan Dog", "does not end behind its onset"),
            ("a.wav x 0.1 Dog", "expected seconds"),
            ("a.wav 0.2 0.3 ", "expected a label"),
            ("a.wav 0.2 0.3", "expected 4 cells"),
            ("gone.wav 0.2 0.3 Dog", "there is no such file"),
            (" 0.2 0.3 Dog", "names no file"),
        ],
    )
    def test_a_row_that_cannot_be_used(self, tmp_path, line, reason):
        table = write_table(tmp_path / "gold.tsv", self.HEADER, "a.wav 0.0 0.2 Cat", line)
        write_sound(tmp_path / "a.wav")
        listing = read_listing(table)
        (reject,) = listing.rejects
        assert reject.where == "gold.tsv:3"
        assert reason in reject.reason
        assert [recording.label for recording in listing.recordings] == ["Cat"]
