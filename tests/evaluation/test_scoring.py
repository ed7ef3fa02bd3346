"""Scores of files against the engine, which hears the same samples as a stream."""

import wave

import numpy as np
import pytest

from earmark.contracts.errors import SourceError
from earmark.contracts.streams import AudioBlock
from earmark.evaluation.scoring import score_files
from earmark.outbox import StoredStream
from engine.analyser import Analyser
from engine.detector import Detector
from engine.runtimes.onnxruntime import OnnxRuntime
from tests.support.tiny_bundle import TONES_HZ

RATE_HZ = 16_000


def tones(seconds, seed):
    """Bursts of the tiny bundle's tones over noise, int16."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    audio = rng.normal(0, 1e-3, len(time_s))
    for hz in TONES_HZ.values():
        onset_s = rng.uniform(0, seconds)
        is_on = (time_s >= onset_s) & (time_s < onset_s + rng.uniform(0.3, 1.0))
        audio += 0.2 * is_on * np.sin(2 * np.pi * hz * time_s)
    return np.round(audio * 32767).clip(-32768, 32767).astype(np.int16)


def write_wav(path, pcm, rate_hz=RATE_HZ):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.tobytes())


def streamed(bundle, name, pcm, block):
    """What the engine scores when a stream called ``name`` sends ``pcm`` in blocks."""
    parts = [np.zeros((0, len(bundle.spec.labels)), np.float32)]
    analyser = Analyser(OnnxRuntime(bundle))
    analyser.observe(lambda _names, _starts, scores, _audio: parts.append(scores[0]))
    analyser.open(name, 1, StoredStream(0, None))
    for first in range(0, len(pcm), block):
        part = pcm[first : first + block]
        analyser.accept(AudioBlock(name, 1, first, 0, RATE_HZ, len(pcm), part, can_wait=True, end=False), 0.0)
        analyser.advance()
    return np.concatenate(parts)


def test_scores_are_the_engines(tiny_bundle, tmp_path):
    lengths_s = {"a.wav": 1.0, "b.wav": 2.9, "long.wav": 13.27, "c.wav": 2.9, "dot.wav": 0.01, "d.wav": 0.5}
    files = {name: tones(seconds, seed) for seed, (name, seconds) in enumerate(lengths_s.items())}
    for name, pcm in files.items():
        write_wav(tmp_path / name, pcm)
    heard_s = []
    scored = score_files(tiny_bundle, tmp_path, list(files), on_audio=heard_s.append)
    assert list(scored.scores) == list(files)
    assert scored.frame_s == pytest.approx(0.04)
    assert sum(heard_s) == pytest.approx(sum(lengths_s.values()))
    for name, pcm in files.items():
        assert scored.durations_s[name] == pytest.approx(lengths_s[name])
        assert scored.scores[name].dtype == np.float32
        np.testing.assert_allclose(scored.scores[name], streamed(tiny_bundle, name, pcm, 1111), atol=1e-6)
        if lengths_s[name] <= tiny_bundle.spec.window_s:
            np.testing.assert_allclose(
                scored.scores[name], Detector(tiny_bundle.folder).scores(pcm, RATE_HZ), atol=1e-6
            )


def test_more_files_than_fit_at_once(tiny_bundle, tmp_path):
    files = {f"{i}.wav": tones(0.5 + 0.1 * (i % 7), i) for i in range(40)}
    for name, pcm in files.items():
        write_wav(tmp_path / name, pcm)
    scored = score_files(tiny_bundle, tmp_path, list(files))
    for name in files:
        alone = score_files(tiny_bundle, tmp_path, [name])
        np.testing.assert_allclose(scored.scores[name], alone.scores[name], atol=1e-6)


def test_other_rates_are_resampled(tiny_bundle, tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(44_100, np.int16), 44_100)
    scored = score_files(tiny_bundle, tmp_path, ["a.wav"])
    assert scored.scores["a.wav"].shape == (25, 4)
    assert scored.durations_s["a.wav"] == 1.0


def test_no_files(tiny_bundle, tmp_path):
    scored = score_files(tiny_bundle, tmp_path, [])
    assert scored.scores == scored.durations_s == {}


def test_a_file_that_cannot_be_read_is_named(tiny_bundle, tmp_path):
    with pytest.raises(SourceError, match=r"gone\.wav"):
        score_files(tiny_bundle, tmp_path, ["gone.wav"])
