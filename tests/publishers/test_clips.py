"""The clips' sink: what it keeps, to the sample, and what it never does."""

import json
import os
import stat
import threading
import wave
from datetime import UTC, datetime

import numpy as np
import pytest

from earmark.contracts.errors import ConfigError
from earmark.telemetry.metrics import REGISTRY
from publishers.clips.config import ClipsConfig
from publishers.clips.files import ClipFiles
from publishers.clips.retention import PIECE, STOCK_EVERY_S
from publishers.clips.sink import MOST_WAITING, QUIET_S
from tests.publishers.room import HOP, RATE_HZ, Room


@pytest.fixture
def make_room(tmp_path, tiny_bundle):
    made = []

    def make(**config):
        made.append(Room(tmp_path / "clips", tiny_bundle, **config))
        return made[-1]

    yield make
    for room in made:
        room.close()


@pytest.fixture
def room(make_room):
    return make_room()


def read_clip(room, event):
    with wave.open(str(room.files.path(event, "wav"))) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, RATE_HZ)
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2")


def read_scores(room, event):
    return json.loads(room.files.path(event, "json").read_text())


def counted(outcome):
    return REGISTRY.get_sample_value("earmark_clips_total", {"outcome": outcome}) or 0.0


def test_a_clip_is_the_streams_own_samples(room):
    room.hear(3.01)
    room.hear(2, low=0.9, top=0.4)
    room.tell(3.3)
    event = room.tell(3.3, 4.77)
    assert not room.files.has(event), "half a second is still to come"
    room.hear(2)
    room.sink.tick(2)
    first, end = round(2.3 * RATE_HZ), round(5.77 * RATE_HZ)
    np.testing.assert_array_equal(read_clip(room, event), room.pcm[first:end])
    kept = read_scores(room, event)
    assert kept["clip"] == {"first_sample": first, "n_samples": end - first, "missing_samples": 0}
    assert kept["labels"][:2] == ["low", "top"]
    assert kept["first_sample"] == first // HOP * HOP
    rows = [sample // HOP * HOP for sample in range(kept["first_sample"], end, HOP)]
    loud = range(round(3.01 * RATE_HZ / HOP) * HOP, round(3.01 * RATE_HZ / HOP) * HOP + 2 * RATE_HZ)
    assert kept["scores"][0] == [0.9 if row in loud else 0.01 for row in rows]
    for suffix in ("wav", "json"):
        assert stat.S_IMODE(room.files.path(event, suffix).stat().st_mode) == 0o600
    day = room.files.path(event, "wav").parent
    assert (day.name, day.parent.name) == ("2026-11-21", "gate")
    assert sorted(path.suffix for path in day.iterdir()) == [".json", ".wav"]
    assert stat.S_IMODE(day.stat().st_mode) == 0o700


def test_the_begin_of_a_stream_and_its_end_cut_a_clip(room):
    room.hear(4)
    early = room.tell(0.5, 1.0)
    late = room.tell(3.2, 4.0, reason="end")
    np.testing.assert_array_equal(read_clip(room, early), room.pcm[: 2 * RATE_HZ])
    np.testing.assert_array_equal(read_clip(room, late), room.pcm[round(2.2 * RATE_HZ) :])


def test_a_long_event_is_cut_while_it_lasts(room):
    room.hear(3)
    onset = room.tell(2)
    room.hear(9)
    room.sink.tick(1)
    np.testing.assert_array_equal(read_clip(room, onset), room.pcm[RATE_HZ : 11 * RATE_HZ])
    stored = counted("stored")
    room.tell(2, 12)
    room.hear(3)
    room.sink.tick(2)
    assert counted("stored") == stored


def test_what_the_monitor_lost_is_silence_and_the_clip_says_so(room):
    room.hear(3)
    room.hear(0.4, audio=False, scored=False)
    room.hear(3)
    event = room.tell(2.5, 4.0)
    heard = room.pcm.copy()
    heard[3 * RATE_HZ : round(3.4 * RATE_HZ)] = 0
    np.testing.assert_array_equal(read_clip(room, event), heard[round(1.5 * RATE_HZ) : 5 * RATE_HZ])
    kept = read_scores(room, event)
    assert kept["clip"]["missing_samples"] == round(0.4 * RATE_HZ)
    assert kept["scores"][0].count(None) == 10


def test_only_a_stream_that_allows_it_has_clips(room):
    before = counted("not_allowed")
    room.hear(5, stream="yard", low=0.9)
    event = room.tell(2, 3, stream="yard")
    kept = read_scores(room, event)
    assert (kept["clip"], kept["no_clip"]) == (None, "not_allowed")
    assert not room.files.path(event, "wav").exists()
    assert counted("not_allowed") == before + 1


@pytest.mark.parametrize("at_s", [1.2, 3.5, 5.5])
def test_a_forbidden_label_in_or_beside_a_clip_forbids_it(make_room, tiny_bundle, at_s):
    room = make_room(forbid_labels=["top"])
    least = tiny_bundle.spec.smoothing_of("top").offset_threshold + 0.001
    room.hear(at_s)
    room.hear(0.04, top=least)
    room.hear(8 - at_s)
    before = counted("forbidden")
    event = room.tell(3, 4)
    assert read_scores(room, event)["no_clip"] == "forbidden"
    assert not room.files.path(event, "wav").exists()
    assert counted("forbidden") == before + 1


def test_a_forbidden_label_that_is_far_away_or_below_its_threshold_does_not(make_room, tiny_bundle):
    room = make_room(forbid_labels=["top"])
    room.hear(0.5, top=0.99)
    room.hear(7, top=tiny_bundle.spec.smoothing_of("top").offset_threshold - 0.01)
    event = room.tell(3, 4)
    np.testing.assert_array_equal(read_clip(room, event), room.pcm[2 * RATE_HZ : 5 * RATE_HZ])


def test_a_clip_waits_until_what_may_be_heard_late_has_been_scored(make_room):
    room = make_room(forbid_labels=["top"])
    room.hear(5.9)
    event = room.tell(3, 4)
    assert not room.files.has(event)
    room.sink.close()
    np.testing.assert_array_equal(read_clip(room, event), room.pcm[2 * RATE_HZ : -RATE_HZ])


def test_sound_whose_scores_were_lost_is_not_kept_where_something_is_forbidden(make_room):
    room = make_room(forbid_labels=["top"])
    room.hear(3)
    room.hear(0.04, scored=False)
    room.hear(4)
    event = room.tell(2.5, 4)
    assert read_scores(room, event)["no_clip"] == "unscored"
    assert not room.files.path(event, "wav").exists()


@pytest.mark.parametrize("audio", [False, True], ids=["a gap", "lost scores"])
def test_what_nothing_was_scored_behind_is_cut_off_though_scores_come_later(make_room, audio):
    """As at a stream's end: a forbidden label in its last second would have shown only behind it."""
    room = make_room(forbid_labels=["top"])
    room.hear(4.4)
    room.hear(0.8, audio=audio, scored=False)
    room.hear(4)
    event = room.tell(2.5, 4.4, reason="gap")
    np.testing.assert_array_equal(read_clip(room, event), room.pcm[round(1.5 * RATE_HZ) : round(3.4 * RATE_HZ)])


@pytest.mark.parametrize("forbidden", ["top", "quarrel"])
def test_a_model_that_nobody_knows_has_nothing_kept_of_it(make_room, forbidden):
    room = make_room(forbid_labels=[forbidden])
    room.hear(8)
    known = room.tell(3, 4)
    assert read_scores(room, known)["no_clip"] == (None if forbidden == "top" else "unscored")
    room.about = type(room.about)(model="another@1+0")
    before = counted("gone")
    assert not room.files.has(room.tell(4, 5))
    assert counted("gone") == before + 1


def test_after_a_restart_old_events_have_no_clip_and_nobody_waits(room):
    room.hear(5)
    before = counted("gone")
    room.start()
    event = room.tell(2, 3)
    room.hear(5)
    room.sink.tick(1)
    assert not room.files.has(event)
    assert counted("gone") == before + 1
    newer = room.tell(8, 8.5)
    np.testing.assert_array_equal(read_clip(room, newer), room.pcm[7 * RATE_HZ : round(9.5 * RATE_HZ)])


def test_what_is_stored_is_not_stored_again_by_a_process_that_knows_less(room):
    room.hear(6)
    event = room.tell(3, 4)
    written = room.files.path(event, "wav").read_bytes()
    room.start()
    room.hear(2)
    room.tell(3, 4)
    room.sink.close()
    assert room.files.path(event, "wav").read_bytes() == written


def test_a_new_epoch_does_not_hide_the_old_ones_last_event(room):
    room.hear(4)
    room.tell(2)
    old, room.at = room.pcm, 0
    room.hear(1, epoch=8)
    event = room.tell(2, 4, reason="interrupted")
    np.testing.assert_array_equal(read_clip(room, event), old[RATE_HZ:])


def test_a_stream_that_falls_silent_does_not_keep_its_event_waiting(room):
    room.hear(3)
    event = room.tell(2, 3)
    assert not room.files.has(event)
    room.now_s += QUIET_S + 1
    room.sink.tick(1)
    np.testing.assert_array_equal(read_clip(room, event), room.pcm[RATE_HZ:])


def test_so_many_events_wait_and_memory_is_bounded(room):
    room.hear(25)
    ring = room.sink._memory._streams["gate"]["0000000000000007"]
    assert len(ring._pcm) == len(ring._scores) < 25 * 21
    before = counted("gone")
    for number in range(MOST_WAITING + 5):
        room.tell(1 + number / 1000, stream="attic")
    assert len(room.sink._waiting) == MOST_WAITING
    assert counted("gone") == before + 5


def test_a_disk_that_takes_nothing_costs_the_clip_only(room, monkeypatch):
    room.hear(6)
    before = counted("failed")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "no room")))
    event = room.tell(3, 4)
    assert counted("failed") == before + 1
    assert list(room.files.path(event, "wav").parent.iterdir()) == []
    monkeypatch.undo()
    assert room.files.has(room.tell(3.5, 4))


def write(files, room, day, number, size=1000):
    """A file as a clip's, of noon of a day of November 2026."""
    room.hear(0)
    event = room.tell(100 + number, 101 + number, stream="attic")
    path = files.path(event.model_copy(update={"onset_time": datetime(2026, 11, day, 12, tzinfo=UTC)}), "wav")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (datetime(2026, 11, day, 12, tzinfo=UTC).timestamp() + number,) * 2)
    return path


def test_a_folder_that_goes_bad_costs_the_clip_only(room, monkeypatch):
    """A disk that was pulled, say: neither the other sinks nor later events suffer."""
    room.hear(6)
    failed = counted("failed")
    with monkeypatch.context() as patch:
        patch.setattr(ClipFiles, "has", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        room.tell(3, 4)
    assert counted("failed") == failed + 1
    assert room.files.has(room.tell(4, 5))


DAY_S = 86_400.0
NO_LIMIT = 10**12


def stored_bytes():
    return REGISTRY.get_sample_value("earmark_clips_stored_bytes")


def test_retention_by_age_and_size_takes_the_oldest_in_pieces(room):
    paths = []
    for _ in range(3):
        paths += [write(room.files, room, 10, len(paths) + number) for number in range(80)]
        room.retention.take_stock()
        room.machine.run(DAY_S)
    foreign = paths[0].with_name("mine.txt")
    foreign.write_text("not ours")
    assert room.retention.prune(2 * DAY_S, NO_LIMIT) == PIECE
    assert room.retention.prune(2 * DAY_S, NO_LIMIT) == 60
    assert room.retention.prune(2 * DAY_S, NO_LIMIT) == 0
    assert [path.exists() for path in paths] == [False] * 160 + [True] * 80
    assert foreign.read_text() == "not ours"
    assert room.retention.prune(9 * DAY_S, 45_000) == 35
    assert [path.exists() for path in paths[160:]] == [False] * 35 + [True] * 45
    assert stored_bytes() == 45_000
    room.retention.take_stock()
    assert stored_bytes() == 45_000


@pytest.mark.parametrize("year", [1970, 2999])
def test_no_wrong_clock_deletes_a_clip_or_keeps_it(room, year):
    """Neither the date of its folder nor its own time stamp is of any account."""
    path = write(room.files, room, 10, 1)
    moved = path.parent.rename(path.parent.with_name(f"{year}-01-01")) / path.name
    os.utime(moved, (datetime(year, 1, 1, tzinfo=UTC).timestamp(),) * 2)
    room.retention.take_stock()
    assert room.retention.prune(7 * DAY_S, NO_LIMIT) == 0
    room.machine.run(6 * DAY_S)
    assert room.retention.prune(7 * DAY_S, NO_LIMIT) == 0
    room.machine.run(DAY_S)
    assert room.retention.prune(7 * DAY_S, NO_LIMIT) == 1
    assert not moved.parent.exists()


def test_a_clip_that_was_written_keeps_its_age_over_a_restart(room):
    room.hear(6)
    event = room.tell(3, 4)
    room.machine.run(6 * DAY_S)
    room.start()
    assert room.files.has(event)
    room.machine.run(DAY_S)
    room.start()
    room.sink.tick(0)
    assert not room.files.has(event)


def test_clips_that_somebody_deleted_do_not_count(room):
    paths = [write(room.files, room, 10, number) for number in range(10)]
    room.retention.take_stock()
    for path in paths[5:]:
        path.unlink()
    room.now_s += STOCK_EVERY_S
    assert room.retention.prune(7 * DAY_S, 5000) == 0
    assert stored_bytes() == 5000


def test_a_damaged_index_costs_the_clips_their_age_only(room):
    path = write(room.files, room, 10, 1)
    room.close()
    room.folder.with_name("outbox.db.clips").write_bytes(b"some text that is no database" * 100)
    room.start()
    assert room.retention.prune(7 * DAY_S, NO_LIMIT) == 0
    room.machine.run(7 * DAY_S)
    assert room.retention.prune(7 * DAY_S, NO_LIMIT) == 1
    assert not path.exists()


def test_the_sink_deletes_what_is_too_old(room):
    path = write(room.files, room, 10, 0)
    room.start()
    room.machine.run(8 * DAY_S)
    room.sink.tick(0)
    assert not path.exists()
    assert not path.parent.parent.exists()


def test_what_a_killed_process_left_unfinished_is_deleted(room):
    room.hear(6)
    event = room.tell(3, 4)
    half = room.files.path(event, "wav").with_name("0" * 32 + ".wav.part")
    half.write_bytes(b"RIFF")
    room.start()
    assert not half.exists()
    assert room.files.has(event)


def test_readers_see_whole_files_only(room):
    room.hear(6)
    event, broken, stop = room.tell(3, 4), [], threading.Event()
    path, whole = room.files.path(event, "wav"), room.files.path(event, "wav").read_bytes()

    def read():
        while not stop.is_set():
            if path.read_bytes() != whole:
                broken.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        path.with_suffix(".json").unlink()
        room.sink._settled.clear()
        room.sink._files.has = lambda _: False
        room.tell(3, 4)
    stop.set()
    reader.join()
    assert broken == []


@pytest.mark.parametrize("change", [{"stream": "../../etc"}, {"event_id": "../" + "0" * 29}, {"event_id": "A" * 32}])
def test_no_event_can_name_another_place(room, change):
    room.hear(6)
    event = room.tell(3, 4)
    with pytest.raises(ConfigError, match="expected an event's stream and id"):
        room.files.path(event.model_copy(update=change), "wav")


def test_a_folder_that_cannot_be_used_is_told_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"publishers\.clips\.folder: expected to write"):
        ClipFiles(tmp_path / "file").check()
    with pytest.raises(ValueError, match="expected max_s above before_s"):
        ClipsConfig(folder=tmp_path, before_s=5, max_s=5)
