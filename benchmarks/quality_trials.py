"""Short trainings that differ in one thing, side by side: what the teacher gives, say, or a later answer.

A trial is what it changes in the config, as on a command line: ``model.delay_frames=0`` or, of several keys,
``teacher=null,loss.edge=0``; an empty one changes nothing. Each trial's smoothing is tuned on one set of dev scenes and
measured on another, and on the dev clips.
"""

import argparse
import math
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.measuring import print_table
from earmark.contracts.bundle import Bundle, BundleSpec
from earmark.evaluation.annotations import TRUTH_FILE, LabelledClip, read_ignored, read_tsv
from earmark.evaluation.material import Material
from earmark.evaluation.measures import measure_clips, measure_scenes
from earmark.evaluation.scoring import score_files
from earmark.evaluation.tuning import Budget, tune
from earmark.training.bundle import Made, write_bundle
from earmark.training.clips import dev_clips
from earmark.training.config import TrainConfig
from earmark.training.experiment import Experiment
from earmark.training.index import audio_base
from earmark.training.scene_files import RunAudio, write_scenes

_CONFIG = Path("configs/train/urban.yaml")
_N_TUNED, _N_MEASURED, _SCENE_S = 900, 300, 10.0
_F1, _PSDS = ("event F1", "onset F1", "segment F1"), ("PSDS1", "PSDS2")
_HEADER = ("trial", "clips", "mAP", *_F1, *_PSDS, "told of after the true onset, median")


def changed(config: TrainConfig, trial: str) -> TrainConfig:
    """The config with the changes of a trial."""
    said: dict[str, Any] = config.model_dump()
    for change in filter(None, trial.split(",")):
        key, value = change.split("=", 1)
        *path, last = key.split(".")
        place = said
        for name in path:
            place = place[name]
        place[last] = yaml.safe_load(value)
    return TrainConfig.model_validate(said)


def scenes_of(config: TrainConfig, work: Path, count: int, seed: int) -> Path:
    """A folder of dev scenes, mixed once."""
    folder = work / f"scenes-{seed}"
    if not folder.is_dir():
        write_scenes(RunAudio(config), folder, split="dev", count=count, seed=seed, duration_s=_SCENE_S, empty=False)
    return folder


def _written(folder: Path, spec: BundleSpec, made: Made) -> Bundle:
    return write_bundle(folder, spec, made.step)


def measure(config: TrainConfig, work: Path, trial: str, max_alarms: float) -> tuple[str, ...]:
    """Train, tune, and the row of a trial's figures."""
    experiment = Experiment(changed(config, trial))
    bundle = _written(work / "trial", *experiment.exported(experiment.train()))
    tuned_on, measured_on = scenes_of(config, work, _N_TUNED, 1), scenes_of(config, work, _N_MEASURED, 0)
    truth = read_tsv(tuned_on / TRUTH_FILE)
    budget = Budget(max_alarms * len(bundle.spec.labels), math.inf, math.inf)
    ignored = read_ignored(tuned_on, truth)
    material = Material(score_files(bundle, tuned_on, list(truth)), truth, ignored=ignored)
    chosen = tune(material, bundle.spec, {"balanced": budget})["balanced"].smoothing
    truth = read_tsv(measured_on / TRUTH_FILE)
    scored = score_files(bundle, measured_on, list(truth))
    spec = bundle.spec.model_copy(update={"smoothing_by_label": chosen})
    found = measure_scenes(truth, scored, spec, read_ignored(measured_on, truth))
    f1 = [f"{100 * tally.micro.f1:.1f} %" for tally in (found.event, found.onset, found.segment)]
    psds = [f"{each.score:.3f}" for each in (found.psds1, found.psds2)]
    told_s = f"{median(found.delays.decisions_s):.2f} s"
    return (trial or "as it is", *measure_on_clips(config, bundle), *f1, *psds, told_s)


def measure_on_clips(config: TrainConfig, bundle: Bundle) -> tuple[str, str]:
    """Share of the dev clips that are named right, those of speech apart, and mAP."""
    clips = [LabelledClip(each.file, each.label) for each in dev_clips(RunAudio(config).recordings)]
    scored = score_files(bundle, audio_base(config.data[0]), [clip.file for clip in clips])
    main = measure_clips(clips, scored, bundle.spec).main
    if main is None:
        raise RuntimeError("expected dev clips, found none")
    return f"{100 * main.ranking.accuracy:.1f} %", f"{main.ranking.mean_average_precision:.3f}"


def main() -> None:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", nargs="+", help="each what it changes in the config; see above")
    parser.add_argument("--steps", type=int, default=1500, help="of each training")
    parser.add_argument(
        "--max-false-alarms-per-hour", type=float, default=20.0, help="of a class, on average, when tuned"
    )
    parser.add_argument("--work", type=Path, default=Path(".cache/training/trials"), help="for what is made")
    options = parser.parse_args()
    config = TrainConfig.load(_CONFIG).changed(steps=options.steps)
    rows = [measure(config, options.work, trial, options.max_false_alarms_per_hour) for trial in options.trials]
    print_table(_HEADER, rows)


if __name__ == "__main__":
    main()
