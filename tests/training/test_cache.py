"""The cache of decoded audio: whole or not there, and never older than the files."""

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from earmark.contracts.errors import SourceError
from earmark.training import cache as cache_module
from earmark.training.cache import AudioCache
from earmark.training.index import read_index
from tests.training.sound_files import RATE, bursts, write_pcm, write_sound, write_table


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    for name in ("a.wav", "b.wav", "c.wav"):
        write_sound(folder / name, 0.3)
    write_table(folder / "index.csv", "file,label", "a.wav,dog", "b.wav,cat", "c.wav,cow")
    return folder


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


def build(data, root):
    return AudioCache.build(data, read_index(data), root, RATE)


def caches(root):
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def test_holds_the_audio_of_each_file(data, root):
    cache = build(data, root)
    assert {file: cache[file].shape for file in ("a.wav", "b.wav", "c.wav")} == dict.fromkeys(
        ("a.wav", "b.wav", "c.wav"), (4800,)
    )
    assert np.array_equal(cache["b.wav"], cache_module.decode(data / "b.wav", RATE))
    assert not cache["b.wav"].flags.writeable
    assert cache.sample_rate_hz == RATE


def test_the_first_channel_is_heard_as_it_is_when_scored(data):
    loud, soft = bursts(0), bursts(1)
    write_pcm(data / "d.wav", np.stack([loud, soft], axis=1))
    assert np.array_equal(cache_module.decode(data / "d.wav", RATE), loud)


def test_a_title_in_latin_1(data):
    whole = (data / "a.wav").read_bytes()
    title = b"INFOINAM\x06\0\0\0Caf\xe9\0\0"
    (data / "d.wav").write_bytes(whole[:12] + b"LIST" + len(title).to_bytes(4, "little") + title + whole[12:])
    assert np.array_equal(cache_module.decode(data / "d.wav", RATE), cache_module.decode(data / "a.wav", RATE))


def test_the_list_or_its_folder(data, root):
    assert (
        build(data, root).folder
        == AudioCache.build(data / "index.csv", read_index(data / "index.csv"), root, RATE).folder
    )


def test_is_decoded_once(data, root, monkeypatch):
    build(data, root)
    monkeypatch.setattr(cache_module, "decode", None)
    build(data, root)


@pytest.mark.parametrize("change", ["size", "time", "list", "rate"])
def test_a_change_makes_another_cache(data, root, change):
    before, rate = build(data, root), RATE
    match change:
        case "size":
            write_sound(data / "b.wav", 0.4)
        case "time":
            state = (data / "b.wav").stat()
            write_pcm(data / "b.wav", bursts(77, 4800))
            assert (data / "b.wav").stat().st_size == state.st_size
            os.utime(data / "b.wav", ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
        case "list":
            write_sound(data / "d.wav")
            write_table(data / "index.csv", "file,label", "a.wav,dog", "b.wav,cat", "d.wav,cow")
        case _:
            rate = 8000
    after = AudioCache.build(data, read_index(data), root, rate)
    assert after.folder != before.folder
    if change in {"size", "time"}:
        assert not np.array_equal(after["b.wav"], before["b.wav"])
    assert np.array_equal(after["a.wav"], before["a.wav"]) == (change != "rate")


def test_a_build_that_stops_half_way_leaves_no_cache(data, root, monkeypatch):
    real, seen = cache_module.decode, []

    def stops(path, rate):
        seen.append(path)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(path, rate)

    monkeypatch.setattr(cache_module, "decode", stops)
    with pytest.raises(KeyboardInterrupt):
        build(data, root)
    (left,) = caches(root)
    assert left.endswith(".partial")
    cache = build(data, root)
    assert len(cache["c.wav"]) == 4800
    assert caches(root) == [cache.folder.name]


def test_a_killed_build_holds_nobody_up(data, root):
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from earmark.training import cache, index\n"
        "real = cache.decode\n"
        "def hang(path, rate):\n"
        "    if path.name == 'b.wav':\n"
        "        print('half', flush=True)\n"
        "        time.sleep(60)\n"
        "    return real(path, rate)\n"
        "cache.decode = hang\n"
        "data, root = map(Path, sys.argv[1:])\n"
        f"cache.AudioCache.build(data, index.read_index(data), root, {RATE})\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, data, root], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    cache = build(data, root)
    assert len(cache["b.wav"]) == 4800
    assert caches(root) == [cache.folder.name]


@pytest.mark.parametrize("file", ["audio.i16", "extents.json", "about.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_cache_is_made_again(data, root, file, damage):
    path = build(data, root).folder / file
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-2])
    else:
        path.unlink()
    assert len(build(data, root)["c.wav"]) == 4800


def _built(data, root):
    cache = build(data, root)
    return str(cache.folder), int(np.abs(cache["c.wav"].astype(int)).sum())


def test_several_processes_share_one(data, root):
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        results = set(pool.map(_built, [data] * 3, [root] * 3))
    assert results == {_built(data, root)}
    assert len(caches(root)) == 1


def test_travels_as_a_path(data, root):
    cache = build(data, root)
    assert len(pickle.dumps(cache)) < 1000
    assert np.array_equal(pickle.loads(pickle.dumps(cache))["a.wav"], cache["a.wav"])  # noqa: S301 -- our own


class TestRejects:
    def test_each_has_its_reason_and_the_rest_goes_on(self, data, root):
        (data / "text.wav").write_text("no sound")
        (data / "zero.wav").touch()
        write_sound(data / "none.wav", 0.0)
        write_sound(data / "short.wav", 0.05)
        write_pcm(data / "silent.wav", np.zeros(RATE, np.int16))
        names = ("text.wav", "zero.wav", "none.wav", "short.wav", "silent.wav")
        write_table(
            data / "index.csv", "file,label,regions,kind", "a.wav,dog,,", *(f"{name},dog,," for name in names),
            "b.wav,dog,0.1-9,", "c.wav,dog,0.1-0.35,", "short.wav,hall,,rir",
        )  # fmt: skip
        listing = read_index(data)
        cache = AudioCache.build(data, [each for each in listing if each.kind != "rir"], root, RATE)
        usable, rejects = cache.judged([each for each in listing if each.kind != "rir"])
        assert [each.file for each in usable] == ["a.wav", "c.wav"]
        assert cache.usable(usable) == usable
        reasons = {reject.file: reject.reason for reject in rejects}
        assert reasons.keys() == {*names, "b.wav"}
        assert "text.wav" in reasons["text.wav"]
        assert "zero.wav" in reasons["zero.wav"]
        assert "none.wav" in reasons["none.wav"]
        assert reasons["short.wav"] == "shorter than 0.1 s: 0.050 s"
        assert reasons["silent.wav"] == "digital silence from beginning to end"
        assert reasons["b.wav"] == "the region 0.1-9 ends behind the file's end at 0.300 s"
        with pytest.raises(SourceError, match="expected audio in"):
            cache["text.wav"]

    def test_the_response_of_a_small_room_may_be_short(self, data, root):
        write_sound(data / "room.wav", 0.03)
        write_table(data / "index.csv", "file,label,kind", "room.wav,car,rir")
        listing = read_index(data)
        assert build(data, root).judged(listing) == (listing, [])

    def test_a_cache_of_nothing(self, data, root):
        (data / "a.wav").write_text("no sound")
        write_table(data / "index.csv", "file,label", "a.wav,dog")
        assert [reject.file for reject in build(data, root).judged(read_index(data))[1]] == ["a.wav"]
