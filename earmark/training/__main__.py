"""Train a bundle from labelled audio: ``python -m earmark.training --config configs/train/urban.yaml``."""

import argparse
import sys
from pathlib import Path

from earmark.contracts.errors import EarmarkError
from earmark.training.config import TrainConfig
from earmark.training.experiment import Experiment


def main(arguments: list[str] | None = None) -> int:
    """Train and export, or export only; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m earmark.training", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the run, YAML")
    parser.add_argument("--steps", type=int, help="train for so many steps instead of the config's")
    parser.add_argument("--export-only", action="store_true", help="export the latest checkpoint, do not train")
    chosen = parser.parse_args(arguments)
    try:
        experiment = Experiment(_config(chosen.config, chosen.steps))
        model = experiment.load() if chosen.export_only else experiment.train()
        report = experiment.export(model)
    except EarmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, value in report.figures.items():
        print(f"{name} {value}")
    return 0


def _config(path: Path, steps: int | None) -> TrainConfig:
    config = TrainConfig.load(path)
    if steps is None:
        return config
    return config.model_copy(update={"optim": config.optim.model_copy(update={"steps": steps})})


if __name__ == "__main__":
    sys.exit(main())
