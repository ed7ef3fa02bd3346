"""Label delay against quality: the same short training with labels 0, 2 and 4 scores late.

A model that may answer later has heard more of a sound. The engine stamps its answers back, so events move by nothing;
they are told of later. Each run's smoothing is tuned on one set of dev scenes and measured on another.
"""

import argparse
from pathlib import Path
from statistics import median

from benchmarks.measuring import print_table
from earmark.evaluation.annotations import TRUTH_FILE, read_tsv
from earmark.evaluation.measures import measure_scenes
from earmark.evaluation.scoring import score_files
from earmark.evaluation.tuning import tune, with_smoothing
from earmark.training.bundle import write_bundle
from earmark.training.config import TrainConfig
from earmark.training.experiment import Experiment
from earmark.training.scene_files import RunAudio, write_scenes

_CONFIG = Path("configs/train/urban.yaml")
_N_TUNED, _N_MEASURED, _SCENE_S = 900, 300, 10.0
_HEADER = ("label delay", "event F1", "onset F1", "segment F1", "told of after the true onset, median")


def scenes_of(config: TrainConfig, work: Path, count: int, seed: int) -> Path:
    """A folder of dev scenes, mixed once."""
    folder = work / f"scenes-{seed}"
    if not folder.is_dir():
        write_scenes(RunAudio(config), folder, split="dev", count=count, seed=seed, duration_s=_SCENE_S, empty=False)
    return folder


def measure(config: TrainConfig, work: Path, delay_frames: int, max_alarms: float) -> tuple[str, ...]:
    """Train with a delay, and the row of its figures."""
    model = config.model.model_copy(update={"delay_frames": delay_frames})
    out = work / f"delay-{delay_frames}"
    changes: dict[str, object] = {"model": model, "out": out, "smoothing_by_label": {}}
    experiment = Experiment(config.model_copy(update=changes))
    bundle = write_bundle(out, *experiment.exported(experiment.train()))
    tuned_on, measured_on = scenes_of(config, work, _N_TUNED, 1), scenes_of(config, work, _N_MEASURED, 0)
    truth = read_tsv(tuned_on / TRUTH_FILE)
    scored = score_files(bundle, tuned_on, list(truth))
    chosen = tune(scored, truth, bundle.spec, max_false_alarms_per_hour=max_alarms)
    truth = read_tsv(measured_on / TRUTH_FILE)
    scored = score_files(bundle, measured_on, list(truth))
    found = measure_scenes(truth, scored, with_smoothing(bundle.spec, chosen, "here"))
    f1 = [f"{100 * tally.micro.f1:.1f} %" for tally in (found.event, found.onset, found.segment)]
    frame_ms = 1000 * bundle.spec.output_hop / bundle.spec.sample_rate_hz
    return (f"{delay_frames * frame_ms:.0f} ms", *f1, f"{median(found.delays.decisions_s):.2f} s")


def main() -> None:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000, help="of each training")
    parser.add_argument("--delays", type=int, nargs="+", default=[0, 2, 4], help="in scores")
    parser.add_argument("--max-false-alarms-per-hour", type=float, default=20.0, help="of each class, when tuned")
    parser.add_argument("--work", type=Path, default=Path(".cache/training/delay"), help="for what is made")
    options = parser.parse_args()
    config = TrainConfig.load(_CONFIG).changed(steps=options.steps)
    rows = [measure(config, options.work, delay, options.max_false_alarms_per_hour) for delay in options.delays]
    print_table(_HEADER, rows)


if __name__ == "__main__":
    main()
