"""A few seconds of labelled tones with an index, which the real pipeline reads like any other data."""

import csv
import wave
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from earmark.training.index import COLUMNS

RATE = 16_000
LABELS = {"hum": 200.0, "siren": 900.0, "whine": 3000.0}
"""Classes, and the frequency of each one's tone."""
ONSET_S, OFFSET_S = 1.0, 2.0
"""Where the tone sounds in each clip of 5 s; digital silence around it."""


def write_small_data(folder: Path, labels: Iterable[str] = LABELS) -> Path:
    """Write two clips a class and split, a background, a room and an index; returns ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split in ("train", "dev"):
        for label in labels:
            for i in range(2):
                rows.append(_row(f"{label}_{split}_{i}.wav", "event", split, label))
                _write(folder / rows[-1]["file"], _clip(LABELS[label] * (1 + i / 20)))
        rows.append(_row(f"noise_{split}.wav", "background", split, "pink_noise"))
        _write(folder / rows[-1]["file"], 0.1 * np.random.default_rng(len(rows)).standard_normal(3 * RATE))
    rows.append(_row("room.wav", "rir", "train", "Hall"))
    _write(folder / "room.wav", np.exp(-np.arange(2000) / 200))
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def _row(file: str, kind: str, split: str, label: str) -> dict[str, str]:
    regions = f"{ONSET_S}-{OFFSET_S}" if kind == "event" else ""
    return dict.fromkeys(COLUMNS, "-") | {
        "file": file, "kind": kind, "split": split, "label": label, "seconds": "5.0", "regions": regions,
        "licence": "CC0", "author": "nobody",
    }  # fmt: skip


def _clip(frequency_hz: float) -> np.ndarray:
    time_s = np.arange(5 * RATE) / RATE
    return 0.5 * np.sin(2 * np.pi * frequency_hz * time_s) * ((time_s >= ONSET_S) & (time_s < OFFSET_S))


def _write(path: Path, audio: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.rint(audio * 32767).astype("<i2").tobytes())
