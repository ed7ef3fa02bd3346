"""Clips through Earmark's real processes: the source's samples, and whole files or none whatever is killed."""

import threading
import wave
from pathlib import Path

import numpy as np
import pytest
import yaml

from earmark.outbox import OutboxReader
from publishers.clips.files import ClipFiles, EventScores
from tests.support.waiting import wait_for
from tests.system.processes import Machine, running, write_wav

RATE_HZ = 16_000
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def scene(seconds):
    """A tone that the tiny bundle's ``mid`` hears in every fifth second, over faint noise."""
    at = np.arange(seconds * RATE_HZ)
    audio = np.random.default_rng(5).normal(0, 1e-4, len(at))
    audio += np.where(at // RATE_HZ % 5 == 4, 0.1 * np.sin(2 * np.pi * 900 * at / RATE_HZ), 0)
    return np.round(audio * 32768).astype(np.int16)


def with_clips(machine: Machine, folder: Path, **config: object) -> None:
    document = yaml.safe_load(machine.config.read_text())
    document["publishers"]["clips"] = {"folder": str(folder), "before_s": 1, "after_s": 1, **config}
    machine.config.write_text(yaml.safe_dump(document))


def stored(folder: Path) -> dict[str, tuple[EventScores, np.ndarray | None]]:
    """What is kept, by event; every file is whole."""
    found = {}
    for path in folder.glob("*/*/*.json"):
        scores = EventScores.model_validate_json(path.read_text())
        sound = path.with_suffix(".wav")
        pcm = None
        if sound.exists():
            with wave.open(str(sound)) as file:
                pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
                assert len(pcm) == file.getnframes()
        found[path.stem] = (scores, pcm)
    return found


def check_whole(folder: Path, source: np.ndarray) -> None:
    """Every clip is the source's samples at its place."""
    for scores, pcm in stored(folder).values():
        if scores.clip is not None:
            assert scores.clip.missing_samples == 0
            first = scores.clip.first_sample
            np.testing.assert_array_equal(pcm, source[first : first + scores.clip.n_samples])


def test_a_clip_is_the_sources_samples_and_only_of_the_stream_that_allows_it(tmp_path, tiny_bundle):
    source = scene(14)
    path = str(write_wav(tmp_path / "scene.wav", source))
    streams = {
        "gate": {"source": "file", "path": path, "clips": True},
        "yard": {"source": "file", "path": path},
    }
    folder = tmp_path / "clips"
    with running(tmp_path, streams, bundle=tiny_bundle.folder) as machine:
        with_clips(machine, folder, forbid_labels=["top"])
        for name in ("publish", "engine", "stream"):
            machine.start(name)
        wait_for(lambda: len(stored(folder)) >= 2)
        machine.wait_for_end("stream")
        reader = OutboxReader(machine.outbox)
        events = [each.event for each in reader.read(0, 100)]
        reader.close()
        natural = {e.event_id: e for e in events if e.phase == "offset" and e.reason is None and e.onset_sample < 1e5}
        assert {event.stream for event in natural.values()} == {"gate", "yard"}
        files = ClipFiles(folder)
        wait_for(lambda: all(files.has(event) for event in natural.values()))
        wait_for(lambda: set(natural) <= set(stored(folder)))
        kept = stored(folder)
        for event in natural.values():
            scores, pcm = kept[event.event_id]
            assert scores.labels[0] == event.label == "mid"
            row = (event.onset_sample - scores.first_sample) // scores.hop
            assert max(score for score in scores.scores[0][row:] if score is not None) >= event.score_peak - 0.001
            if event.stream == "yard":
                assert (pcm, scores.clip, scores.no_clip) == (None, None, "not_allowed")
                continue
            assert scores.clip is not None
            assert scores.clip.first_sample == event.onset_sample - RATE_HZ
            assert scores.clip.n_samples == event.offset_sample - event.onset_sample + 2 * RATE_HZ
        check_whole(folder, source)
        assert not list(folder.glob("yard/*/*.wav"))


def test_publishers_that_are_killed_leave_no_half_file_and_go_on(tmp_path, tiny_bundle):
    source = scene(60)
    path = str(write_wav(tmp_path / "scene.wav", source))
    streams = {
        name: {"source": "file", "path": path, "clips": True, "loop": True} for name in ("one", "two", "three", "four")
    }
    folder = tmp_path / "clips"
    rng = np.random.default_rng()
    with running(tmp_path, streams, bundle=tiny_bundle.folder) as machine:
        with_clips(machine, folder, forbid_labels=[], after_s=0.1, max_s=3)
        for name in ("publish", "engine", "stream"):
            machine.start(name)
        for _ in range(3):
            before = len(stored(folder))
            wait_for(lambda before=before: len(stored(folder)) >= before + 2, "more clips")
            threading.Event().wait(rng.uniform(0, 0.3))  # a kill at any moment is what is tried
            machine.kill("publish")
            check_whole(folder, source)
            machine.start("publish")
            assert not list(folder.rglob("*.part"))
