"""YAMNet on the dev scenes and clips that our bundle is measured on, each with the smoothing that hindsight finds best.

YAMNet (Hershey et al., 2017) is what many programs hear sounds with. It knows 521 classes of AudioSet, of which
`CLASSES` makes ours, and hears 0.975 s at once. What is open is decided in its favour: a score stands at the centre of
its window, so that it sees half a second of what is to come, and at a file's ends the window is moved inside; a class
that only confuses the dev clips is left out; where AudioSet lacks a label, one that tells it there stands for it.

Hindsight is the smoothing that gives the best event F1 on the very scenes that are measured, with no bound on wrong
events. It flatters: "in folds" each fifth of the scenes is smoothed as the other four would have it.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from benchmarks.measuring import print_table
from earmark.contracts.bundle import BundleSpec, load_bundle
from earmark.evaluation.annotations import TRUTH_FILE, Annotations, LabelledClip, read_clips, read_ignored, read_tsv
from earmark.evaluation.audioset import AUDIOSET, AudioSetMap, read_names
from earmark.evaluation.counting import Grid
from earmark.evaluation.material import Material, Outcome
from earmark.evaluation.measures import APART, measure_scenes
from earmark.evaluation.scoring import ScoredFiles, score_files
from earmark.evaluation.tagging import clip_score, rank
from earmark.evaluation.tuning import GRID, Budget, tune
from streamer.sources.file import read_pcm

RATE_HZ = 16_000
WINDOW = 15_600
"""Samples that YAMNet hears at once."""
CLASSES: dict[str, tuple[str, ...]] = {
    **AUDIOSET,
    "breathing": ("Gasp", "Wheeze", "Sigh"),
    "brushing_teeth": ("Toothbrush", "Scratch"),
    "can_opening": ("Cap gun",),
    "car_horn": ("Vehicle horn, car horn, honking", "Air horn, truck horn"),
    "cat": ("Cat", "Meow", "Caterwaul"),
    "chirping_birds": ("Bird vocalization, bird call, bird song", "Chirp, tweet"),
    "church_bells": ("Church bell", "Bell", "Change ringing (campanology)"),
    "clock_alarm": ("Alarm clock", "Telephone bell ringing"),
    "clock_tick": ("Tick", "Tick-tock"),
    "crying_baby": ("Baby cry, infant cry", "Crying, sobbing"),
    "dog": ("Dog", "Bark", "Yip", "Howl", "Bow-wow", "Growling", "Whimper (dog)"),
    "drinking_sipping": ("Burping, eructation", "Biting", "Chewing, mastication"),
    "engine": ("Idling", "Medium engine (mid frequency)", "Engine starting", "Engine knocking"),
    "insects": ("Fly, housefly", "Bee, wasp, etc.", "Mosquito"),
    "laughing": ("Laughter", "Snicker", "Chuckle, chortle"),
    "mouse_click": ("Coin (dropping)",),
    "pouring_water": ("Liquid", "Water tap, faucet", "Pour"),
    "siren": ("Siren", "Police car (siren)", "Ambulance (siren)", "Fire engine, fire truck (siren)"),
    "snoring": ("Snoring",),
    "train": ("Train", "Rail transport", "Railroad car, train wagon", "Clickety-clack"),
    "washing_machine": ("Pump (liquid)",),
}
"""As `AUDIOSET`, changed in YAMNet's favour on the dev clips: for them, and for nothing else."""

_GRID = Grid(
    median_frames=(1, 3, 9, 19),
    onset_threshold=(0.003, 0.007, 0.011, *GRID.onset_threshold),
    offset_share=GRID.offset_share,
    min_gap_s=GRID.min_gap_s,
    max_unproven_s=GRID.max_unproven_s,
    min_duration_s=GRID.min_duration_s,
)
"""YAMNet's scores are whole 256ths, and many classes never reach 0.02."""
_UNBOUNDED = Budget(math.inf, math.inf, math.inf)


class Yamnet:
    """YAMNet's scores of our labels.

    Args:
        folder: With ``yamnet.tflite`` and ``yamnet_class_map.csv``.
        labels: Ours; one that is not in `CLASSES` scores 0.

    Raises:
        ConfigError: There is no class map, or it lacks a class of `CLASSES`.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._interpreter: Any = Interpreter(str(folder / "yamnet.tflite"), num_threads=1)
        self._interpreter.allocate_tensors()
        self._output: int = self._interpreter.get_output_details()[0]["index"]
        self._to_ours = AudioSetMap(read_names(folder / "yamnet_class_map.csv"), labels, CLASSES)

    def score(self, audio: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
        """Scores of windows around the centres of frames.

        Args:
            audio: float32 ``[n]`` at 16 kHz; what is shorter than a window is filled with silence.
            hop: Samples a frame.

        Returns:
            In [0, 1], float32 ``[round(n / hop), C]``, at least one frame.
        """
        padded = np.pad(audio, (0, max(0, WINDOW - len(audio))))
        centres = np.arange(max(1, round(len(audio) / hop))) * hop + hop // 2
        starts = np.clip(centres - WINDOW // 2, 0, len(padded) - WINDOW)
        heard = np.stack([self._hear(padded[start : start + WINDOW]) for start in starts])
        return self._to_ours(heard)

    def _hear(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(0, window)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[0]


@dataclass(frozen=True)
class Heard:
    """What a model made of the scenes and the clips; `spec` says how its scores are smoothed."""

    name: str
    spec: BundleSpec
    scenes: ScoredFiles
    clips: ScoredFiles


def hear_ours(name: str, scenes: tuple[Path, Sequence[str]], clips: tuple[Path, Sequence[str]]) -> Heard:
    """Score folders' files with a bundle."""
    bundle = load_bundle(name)
    return Heard(bundle.identity, bundle.spec, score_files(bundle, *scenes), score_files(bundle, *clips))


def hear_yamnet(
    yamnet: Yamnet,
    spec: BundleSpec,
    hop_s: float,
    scenes: tuple[Path, Sequence[str]],
    clips: tuple[Path, Sequence[str]],
) -> Heard:
    """Score folders' files with YAMNet every ``hop_s``, in whole hops of the bundle whose ``spec`` gives the labels."""
    hops = max(1, round(hop_s * RATE_HZ / spec.front_end.hop_length))
    spec = spec.model_copy(update={"hops_per_score": hops, "delay_frames": 0, "smoothing_by_label": {}})

    def score(folder: Path, names: Sequence[str]) -> ScoredFiles:
        audio = {name: read_audio(folder / name) for name in names}
        return ScoredFiles(
            spec.labels,
            spec.output_hop / RATE_HZ,
            {name: yamnet.score(each, spec.output_hop) for name, each in audio.items()},
            {name: len(each) / RATE_HZ for name, each in audio.items()},
        )

    return Heard(f"YAMNet every {spec.output_hop / RATE_HZ:g} s", spec, score(*scenes), score(*clips))


def read_audio(path: Path) -> NDArray[np.float32]:
    """A file at 16 kHz in [-1, 1], float32 ``[n]``, as a bundle hears it."""
    return np.concatenate(list(read_pcm(path, RATE_HZ))).astype(np.float32) / np.float32(32768)


def measure(
    heard: Heard, truth: Annotations, ignored: Annotations, clips: Sequence[LabelledClip], *, shipped: bool
) -> list[list[str]]:
    """Rows for hindsight and for folds, and before them for the smoothing that ships if ``shipped``."""
    tuned = tune(Material(heard.scenes, truth, ignored=ignored), heard.spec, {"keen": _UNBOUNDED}, _GRID)["keen"]
    specs = {"shipped": heard.spec} if shipped else {}
    specs["hindsight"] = heard.spec.model_copy(update={"smoothing_by_label": tuned.smoothing})
    rows: list[list[str]] = []
    for setting, spec in specs.items():
        found = measure_scenes(truth, heard.scenes, spec, ignored)
        f1 = [_percent(tally.micro.f1) for tally in (found.event, found.onset, found.segment)]
        alarms = np.mean([each.per_hour for each in found.false_alarms.values()])
        psds = [f"{each.score:.3f}" for each in (found.psds1, found.psds2)]
        rows.append([f"{heard.name}, {setting}", *f1, f"{alarms:.2f}", *psds, "", ""])
    rows[0][-2:] = [_percent(_accuracy(heard.clips, clips, score)) for score in (clip_score, _mean_score)]
    folds = [_percent(tuned.elsewhere.event_f1), "", "", f"{_per_class(tuned.elsewhere, heard.spec):.2f}"]
    return [*rows, [f"{heard.name}, in folds", *folds, "", "", "", ""]]


def _per_class(outcome: Outcome, spec: BundleSpec) -> float:
    return outcome.watched.wrong_per_hour / len(spec.labels)


def _mean_score(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(scores.mean(axis=0), np.float64)


def _accuracy(
    scored: ScoredFiles, clips: Sequence[LabelledClip], score: Callable[[NDArray[np.float32]], NDArray[np.float64]]
) -> float:
    """Share of the clips whose class has the highest ``score`` of their frames ``[T, C]``."""
    scores = np.stack([score(scored.scores[clip.file]) for clip in clips])
    truth = np.array([[clip.label == label for label in scored.labels] for clip in clips])
    return rank(scores, truth).accuracy


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def main() -> None:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder that `earmark data scenes` wrote")
    parser.add_argument("--bundle", default="urban")
    parser.add_argument("--truth", nargs="+", default=[TRUTH_FILE], help="tables of the scenes' true events")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with index.csv")
    parser.add_argument("--yamnet", type=Path, default=Path("../shared/peers/yamnet"), help="folder of the peer")
    parser.add_argument("--hop-s", type=float, nargs="+", default=[0.48, 0.1], help="YAMNet's; its own is 0.48")
    options = parser.parse_args()
    truths = {table: read_tsv(options.scenes / table) for table in options.truth}
    truth = truths[options.truth[0]]
    ignored = read_ignored(options.scenes, truth)
    clips = [clip for clip in read_clips(options.data / "index.csv", "dev") if clip.label != APART]
    files = (options.scenes, list(truth)), (options.data, [clip.file for clip in clips])
    ours = hear_ours(options.bundle, *files)
    yamnet = Yamnet(options.yamnet, ours.spec.labels)
    rows: list[list[str]] = []
    for heard in (ours, *(hear_yamnet(yamnet, ours.spec, hop_s, *files) for hop_s in options.hop_s)):
        for table, events in truths.items():
            name = heard.name if len(truths) == 1 else f"{heard.name} by {table}"
            rows += measure(replace(heard, name=name), events, ignored, clips, shipped=heard is ours)
    header = (
        f"{len(truth)} scenes, {len(clips)} clips",
        "event F1",
        "onset F1",
        "segment F1",
        "false alarms/h and class",
        "PSDS1",
        "PSDS2",
        "clips by mean logit",
        "clips by mean score",
    )
    print_table(header, rows)


if __name__ == "__main__":
    main()
