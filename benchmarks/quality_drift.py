"""Ten hours of one stream through the engine's own `Analyser`: are its scores in the last hour those of the first?

The same scenes are heard again and again, in a new order and each at a new level in every pass, so hours differ by
order and level even without drift. How much that is, tell the hours among themselves: it is drift where the last hour
is farther from the first than any two of the others are from each other.
"""

import argparse
import itertools
import os
import sys
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import print_table, resident_mb
from earmark.contracts.bundle import Bundle, load_bundle
from earmark.contracts.streams import AudioBlock, Pcm, new_epoch
from earmark.outbox import StoredStream
from engine.analyser import Analyser
from engine.runtimes import Audio, Scores
from engine.runtimes.onnxruntime import OnnxRuntime

STREAM = "gate"
_LEVEL_DB = (-12.0, 0.0)
_EDGES = np.concatenate([[0.0], np.logspace(-8, 0, 801)[:-1]])
"""Of the histogram of scores: a hundred bins a decade, for most scores are small; the last one ends at 1."""


@dataclass
class Hour:
    """What was scored in an hour.

    Attributes:
        sums: Each class's scores together, float64 ``[C]``.
        histogram: Of all classes' scores, int64 ``[len(_EDGES)]``.
        n_frames: How many.
        n_high: Scores above 0.5.
        n_events: Events that began or ended.
        resident_mb: What the process held in the end.
    """

    sums: NDArray[np.float64]
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(_EDGES), np.int64))
    n_frames: int = 0
    n_high: int = 0
    n_events: int = 0
    resident_mb: float = 0.0

    def add(self, scores: Scores) -> None:
        """Take scores ``[T, C]``."""
        self.sums += scores.sum(axis=0, dtype=np.float64)
        places = np.searchsorted(_EDGES, scores.reshape(-1), side="right") - 1
        self.histogram += np.bincount(places, minlength=len(_EDGES))
        self.n_frames += len(scores)
        self.n_high += int(np.count_nonzero(scores > 0.5))

    @property
    def means(self) -> NDArray[np.float64]:
        """Each class's mean score, float64 ``[C]``."""
        return self.sums / self.n_frames

    @property
    def high_share(self) -> float:
        """Of all scores those above 0.5."""
        return self.n_high / (self.n_frames * len(self.sums))

    @property
    def distribution(self) -> NDArray[np.float64]:
        """Share of all scores below the end of each bin, float64 ``[len(_EDGES)]``."""
        return np.cumsum(self.histogram) / self.histogram.sum()


def mean_score(hour: Hour) -> float:
    """Of all classes."""
    return float(hour.means.mean())


DISTANCES: dict[str, Callable[[Hour, Hour], float]] = {
    "mean score": lambda one, other: abs(mean_score(one) - mean_score(other)),
    "share of scores above 0.5": lambda one, other: abs(one.high_share - other.high_share),
    "mean score of the class that differs most": lambda one, other: float(np.abs(one.means - other.means).max()),
    "distribution of scores (Kolmogorov-Smirnov)": lambda one, other: float(
        np.abs(one.distribution - other.distribution).max()
    ),
}


def read_scenes(folder: Path, sample_rate_hz: int) -> list[Pcm]:
    """The WAV files of a folder, by name.

    Raises:
        ValueError: There are none, or one has another rate or several channels.
    """
    scenes: list[Pcm] = []
    for path in sorted(folder.glob("*.wav")):
        with wave.open(str(path), "rb") as file:
            if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (sample_rate_hz, 1, 2):
                raise ValueError(
                    f"{path}: expected one channel of 16 bits at {sample_rate_hz} Hz, got {file.getparams()}"
                )
            scenes.append(np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16))
    if not scenes:
        raise ValueError(f"{folder}: expected WAV files, got none; write some with earmark data scenes")
    return scenes


def passes(scenes: Sequence[Pcm], seed: int) -> Iterator[Pcm]:
    """The scenes without end: every pass in another order, every scene at another level."""
    chance = np.random.default_rng(seed)
    while True:
        order: list[int] = chance.permutation(len(scenes)).tolist()
        for place in order:
            gain = 10 ** (chance.uniform(*_LEVEL_DB) / 20)
            yield np.rint(scenes[place] * gain).astype(np.int16)


def hear(bundle: Bundle, audio: Iterator[Pcm], n_hours: int) -> list[Hour]:
    """Analyse hours of one stream; only what `Hour` holds is kept of its scores."""
    spec = bundle.spec
    hour_samples = 3600 * spec.sample_rate_hz
    hours = [Hour(np.zeros(len(spec.labels))) for _ in range(n_hours)]

    def take(_names: Sequence[str], starts: NDArray[np.int64], scores: Scores, _audio: Audio) -> None:
        hours[min(n_hours - 1, int(starts[0]) // hour_samples)].add(scores[0])

    analyser = Analyser(OnnxRuntime(bundle))
    analyser.observe(take)
    stream = analyser.open(STREAM, new_epoch(), StoredStream(0, None))
    for hour in hours:
        end = stream.needed // hour_samples * hour_samples + hour_samples
        while stream.needed < end:
            analyser.accept(_block(stream.epoch, stream.needed, next(audio), spec.sample_rate_hz), 0.0)
            for commit in analyser.collect():
                hour.n_events += len(commit.events)
                analyser.committed(commit)
        hour.resident_mb = resident_mb(os.getpid()) or 0.0
    return hours


def _block(epoch: int, first_sample: int, pcm: Pcm, sample_rate_hz: int) -> AudioBlock:
    return AudioBlock(
        stream=STREAM,
        epoch=epoch,
        first_sample=first_sample,
        captured_at_ns=0,
        sample_rate_hz=sample_rate_hz,
        newest_sample=first_sample + len(pcm),
        pcm=pcm,
        can_wait=True,
        end=False,
    )


def print_hours(hours: Sequence[Hour], labels: Sequence[str]) -> None:
    """A column an hour."""
    rows = [
        ("mean score", *(f"{mean_score(hour):.5f}" for hour in hours)),
        ("scores above 0.5", *(f"{100 * hour.high_share:.3f} %" for hour in hours)),
        ("onsets and offsets told", *(hour.n_events for hour in hours)),
        ("resident, MiB", *(f"{hour.resident_mb:.1f}" for hour in hours)),
    ]
    rows += [
        (f"mean of `{label}`", *(f"{hour.means[place]:.5f}" for hour in hours)) for place, label in enumerate(labels)
    ]
    print_table(("hour", *(str(number) for number in range(1, len(hours) + 1))), rows)


def print_distances(hours: Sequence[Hour]) -> bool:
    """The last hour against the first, and all other pairs; whether the last is no farther than any of these."""
    *others, last = hours
    rows: list[tuple[str, ...]] = []
    stayed = True
    for name, distance in DISTANCES.items():
        seen = distance(hours[0], last)
        usual = [distance(*pair) for pair in itertools.combinations(others, 2)]
        stayed &= seen <= max(usual)
        rows.append((name, *(f"{value:.6f}" for value in (seen, np.median(usual), max(usual)))))
    print_table(("distance", f"hour {len(hours)} from hour 1", "two other hours: median", "most"), rows)
    return stayed


def main() -> None:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder of WAV files, as `earmark data scenes` writes it")
    parser.add_argument("--bundle", default="urban")
    parser.add_argument("--hours", type=int, default=10, help="at least 3")
    parser.add_argument("--seed", type=int, default=0, help="of orders and levels")
    options = parser.parse_args()
    if options.hours < 3:
        parser.error(f"expected --hours of 3 or more, got {options.hours}: other hours are the yardstick")
    bundle = load_bundle(options.bundle)
    scenes = read_scenes(options.scenes, bundle.spec.sample_rate_hz)
    hours = hear(bundle, passes(scenes, options.seed), options.hours)
    print_hours(hours, bundle.spec.labels)
    if not print_distances(hours):
        sys.exit("the last hour is farther from the first than any two of the others are from each other")


if __name__ == "__main__":
    main()
