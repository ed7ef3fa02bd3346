"""The main job on real input: a microphone hears a clip, and a subscriber in another process learns of it."""

import csv

import numpy as np
import pytest

from engine.detector import Detector
from streamer.sources.file import read_pcm
from tests.system.eavesdropper import Eavesdropper
from tests.system.processes import Machine, write_wav
from tests.system.sound_server import SoundServer

RATE_HZ = 16_000
COLLAR = round(0.2 * RATE_HZ)
PLAYED = [(round(seconds * RATE_HZ), gain) for seconds in (0.03, 0.07, 0.12, 0.25, 1.0) for gain in (1.0, 0.7)]
"""Samples of silence before a clip, and the level at which it is played."""
pytestmark = [pytest.mark.data, pytest.mark.slow]


def begin_of_sound(audio):
    """First sample of the first 10 ms frame within 30 dB of the loudest."""
    frames = audio[: len(audio) // 160 * 160].reshape(-1, 160)
    power = np.square(frames).mean(axis=1)
    return 160 * int(np.argmax(power >= power.max() / 1000))


def read(path):
    """A file's audio at 16 kHz, float32."""
    pcm = np.concatenate(list(read_pcm(path, RATE_HZ)))
    return pcm.astype(np.float32) / 32768


def detects_onset(detector, audio, label, n_quiet):
    """Whether a clip after so many samples of silence gives events of its class alone, the first where it begins."""
    quiet = np.zeros(n_quiet, np.float32)
    events = detector.feed(np.concatenate([quiet, audio])) + detector.end()
    found = [event for event in events if event.phase == "onset"]
    return (
        bool(found)
        and {event.label for event in found} == {label}
        and found[0].score_peak > 0.6
        and abs(found[0].onset_sample - n_quiet - begin_of_sound(audio)) < COLLAR / 2
    )


@pytest.fixture(scope="module")
def clip(data_folder):
    """A dev clip whose onset the model detects after any silence and at any level: its audio and its label.

    The model's quality is measured elsewhere; here a sound is needed that it knows. It begins after some silence,
    because the first milliseconds that are played can be lost.
    """
    with (data_folder / "index.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "dev" and row["file"].startswith("esc50/")]
    detector = Detector()
    for row in rows:
        audio = read(data_folder / row["file"])
        if begin_of_sound(audio) > COLLAR and all(
            detects_onset(detector, audio * gain, row["label"], n_quiet) for n_quiet, gain in PLAYED
        ):
            return audio, row["label"]
    pytest.fail("the model hears no dev clip's begin well")


@pytest.fixture
def sound_server(tmp_path):
    made = SoundServer(tmp_path)
    yield made
    made.close()


def test_a_clip_that_is_played_arrives_as_an_event(clip, sound_server, tmp_path, monkeypatch):
    audio, label = clip
    wav = write_wav(tmp_path / "clip.wav", np.round(audio * 32767).astype(np.int16))
    machine = Machine(tmp_path, {"room": {"source": "microphone", "device": "default"}})
    between = Eavesdropper(machine.engine_at)
    machine.use_engine(between.address)
    try:
        machine.start("engine")
        machine.start("publish")
        for name, value in sound_server.environment.items():
            monkeypatch.setenv(name, value)
        subscriber = machine.subscribe("--since", "0")
        machine.start("stream")
        between.wait_for_audio()
        sound_server.play(wav)
        # The sound ends after the whole clip was captured, without which its place cannot be found.
        subscriber.wait_for(
            lambda events: any(event["label"] == label and event["phase"] == "offset" for event in events)
        )
    finally:
        machine.close()
        between.close()
    captured = between.captured().astype(np.float32) / 32768
    place = int(np.argmax(np.correlate(captured, audio, mode="valid"))) if len(captured) > len(audio) else 0
    event = next(event for event in subscriber.events if event["label"] == label)
    off = event["onset_sample"] - (place + begin_of_sound(audio))
    print(f"{label}: onset {off / RATE_HZ * 1000:+.0f} ms off the clip's place")
    assert abs(off) <= COLLAR
