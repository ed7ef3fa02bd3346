"""Folders, patterns and playlists as arguments of ``earmark detect``."""

import os
from pathlib import Path

import pytest

from earmark.app.sound_files import find_sound_files
from earmark.contracts.errors import SourceError


@pytest.fixture
def folder(tmp_path):
    for name in (
        "b.wav",
        "a.MP3",
        "sub/c.flac",
        "sub/b.wav",
        ".hidden/d.wav",
        "notes.txt",
        "truth.tsv",
        ".e.wav",
        "[x].wav",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_a_folder_is_all_of_its_sound_files(folder):
    assert list(find_sound_files([folder]).values()) == ["[x].wav", "a.MP3", "b.wav", "sub/b.wav", "sub/c.flac"]


def test_patterns_that_the_shell_left_alone(folder):
    assert [path.name for path in find_sound_files([folder / "*.wav"])] == ["[x].wav", "b.wav"]
    assert len(find_sound_files([folder / "**" / "*.wav"])) == 3
    assert list(find_sound_files([folder / "s*"]).values()) == ["b.wav", "c.flac"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    assert list(find_sound_files([folder / "[x].wav"])) == [folder / "[x].wav"]


def test_what_is_not_there_is_passed_on(folder):
    wanted = [folder / "none.wav", folder / "*.ogg", Path("-")]
    assert list(find_sound_files(wanted)) == wanted
    (folder / "empty").mkdir()
    assert list(find_sound_files([folder / "empty"])) == [folder / "empty"]


def test_each_file_once(folder):
    assert len(find_sound_files([folder / "b.wav", folder, folder / "*.wav"])) == 5


@pytest.mark.parametrize("suffix", ["m3u", "pls"])
def test_a_playlist_is_the_files_that_it_names(folder, suffix):
    name = os.fsdecode("Café.wav".encode("latin-1"))
    (folder / name).touch()
    lines = ["b.wav", "sub/c.flac", str(folder / "a.MP3"), name]
    text = "\n".join(["[playlist]", *(f"File{n}={line}" for n, line in enumerate(lines))] if suffix == "pls" else lines)
    path = folder / f"list.{suffix}"
    path.write_bytes(os.fsencode(text))
    assert list(find_sound_files([path])) == [folder / line for line in lines]


def test_a_playlist_of_addresses_says_what_to_do(folder):
    (folder / "radio.m3u").write_text("http://example.org/a\n")
    with pytest.raises(
        SourceError, match=r"got the address http://example\.org/a; add it as a stream with source: url"
    ):
        find_sound_files([folder / "radio.m3u"])
