"""Twenty clips of a class are enough: five ESC-50 classes are held out of a base and added to it again.

The base is trained as `urban` is, without every tenth class, in fewer steps. Each class is then added from at most
``--clips`` of its train clips. Measured is on the dev split, which neither has heard.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from benchmarks.measuring import print_table
from earmark.contracts.bundle import SPEC_FILE, Bundle, load_bundle
from earmark.evaluation.annotations import TRUTH_FILE, read_clips, read_ignored, read_tsv
from earmark.evaluation.events import Counts
from earmark.evaluation.measures import SceneMeasures, measure_clips, measure_scenes
from earmark.evaluation.scoring import score_files
from earmark.training.config import TrainConfig
from earmark.training.experiment import Experiment
from earmark.training.finetune import FineTuning, fine_tune_config
from earmark.training.scene_files import RunAudio, write_scenes

_CONFIG = Path("configs/train/urban.yaml")
_HELD_OUT = ("car_horn", "crackling_fire", "footsteps", "pig", "toilet_flush")
_N_SCENES, _SCENE_S = 300, 10.0
Row = dict[str, str]


def write_lists(config: TrainConfig, work: Path, n_clips: int) -> tuple[Path, Path]:
    """The list without the held-out classes, and the one of these alone, with at most ``n_clips`` to train on each."""
    with (config.data[0] / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = [{**row, "file": str((config.data[0] / row["file"]).resolve())} for row in csv.DictReader(file)]
    base = [row for row in rows if row["kind"] != "event" or row["label"] not in _HELD_OUT]
    taken: Counter[str] = Counter()
    new: list[Row] = []
    for row in rows:
        if row["kind"] == "event" and row["label"] in _HELD_OUT:
            taken[row["label"]] += row["split"] == "train"
            if row["split"] == "dev" or taken[row["label"]] <= n_clips:
                new.append(row)
    return _write_list(work / "base" / "index.csv", base), _write_list(work / "new" / "index.csv", new)


def _write_list(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def train_base(config: TrainConfig, data: Path, work: Path, steps: int) -> Bundle:
    """A bundle that has never heard the held-out classes from us, made once."""
    naming = config.naming
    naming = naming.model_copy(
        update={
            "extra": {name: label for name, label in naming.extra.items() if label not in _HELD_OUT},
            "backgrounds": {name: label for name, label in naming.backgrounds.items() if label not in _HELD_OUT},
        }
    )
    out = work / "held-out"
    if (out / SPEC_FILE).is_file():
        return load_bundle(out)
    changes: dict[str, object] = {"name": "held-out", "data": data, "out": out, "naming": naming, "groups": {}}
    experiment = Experiment(config.model_copy(update=changes).changed(steps=steps))
    experiment.export(experiment.train())
    return load_bundle(out)


def measure(bundle: Bundle, data: Path, scenes: Path) -> list[str]:
    """The figures of a bundle: clips of the held-out classes and of the others, then scenes of both."""
    clips = [clip for clip in read_clips(data / "index.csv", "dev") if clip.label in bundle.spec.labels]
    measured = measure_clips(clips, score_files(bundle, data, [clip.file for clip in clips]), bundle.spec).main
    truth = read_tsv(scenes / TRUTH_FILE)
    ignored = read_ignored(scenes, truth)
    in_scenes = measure_scenes(truth, score_files(bundle, scenes, list(truth)), bundle.spec, ignored)
    if measured is None:
        raise SystemExit(f"expected dev clips in {data / 'index.csv'}, found none")
    table, labels = measured.confusions, bundle.spec.labels
    found: list[str] = []
    for of_part in (_HELD_OUT, [label for label in labels if label not in (*_HELD_OUT, "speech")]):
        places = [labels.index(label) for label in of_part if label in labels]
        n_clips = table[places].sum()
        found += [
            f"{table[places, places].sum() / n_clips:.1%} of {n_clips}" if n_clips else "-",
            f"{_total(in_scenes, of_part).f1:.3f}" if places else "-",
            f"{_false_alarms(in_scenes, of_part):.2f}" if places else "-",
        ]
    return found


def _total(measured: SceneMeasures, labels: Iterable[str]) -> Counts:
    return sum((measured.segment.by_label[label] for label in labels), Counts(0, 0, 0))


def _false_alarms(measured: SceneMeasures, labels: Iterable[str]) -> float:
    rates = [measured.false_alarms[label].per_hour for label in labels]
    return sum(rates) / len(rates)


def main() -> None:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20, help="train clips of each new class, at most")
    parser.add_argument("--steps", type=int, default=3000, help="of the base")
    parser.add_argument("--work", type=Path, default=Path(".cache/training/held-out"), help="for what is made")
    arguments = parser.parse_args()
    config, work = TrainConfig.load(_CONFIG), arguments.work.resolve()
    base_list, new_list = write_lists(config, work, arguments.clips)
    scenes = work / "scenes"
    if not scenes.is_dir():
        write_scenes(RunAudio(config), scenes, split="dev", count=_N_SCENES, seed=0, duration_s=_SCENE_S, empty=False)
    base = train_base(config, base_list, work, arguments.steps)
    run = fine_tune_config(base, new_list, work / "extended")
    tuning = FineTuning(base, run)
    tuning.export(tuning.train())
    names = [
        f"{part}: {figure}"
        for part in ("added classes", "other classes")
        for figure in ("clips named right", "segment F1 in scenes", "false alarms an hour and class in scenes")
    ]
    before, after = (measure(bundle, config.data[0], scenes) for bundle in (base, load_bundle(run.out)))
    title = f"{arguments.clips} clips a class, base of {arguments.steps} steps: before, after"
    print_table((title, ""), [(name, f"{old}, {new}") for name, old, new in zip(names, before, after, strict=True)])


if __name__ == "__main__":
    main()
