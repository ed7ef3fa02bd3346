"""``train``: a bundle from labelled audio."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(train)


def train(
    config: Annotated[Path, typer.Option(help="The run, YAML; configs/train has ours.")],
    *,
    steps: Annotated[int | None, typer.Option(min=1, help="Train for so many steps instead of the config's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the config's.")] = None,
    export_only: Annotated[bool, typer.Option("--export-only", help="Export what is trained, do not train.")] = False,
) -> None:
    """Train a detector, tune its smoothing, measure it and write its bundle. A run that was stopped goes on."""
    from earmark.app.extras import load
    from earmark.telemetry.logs import configure_logging

    configure_logging("train")
    run = load("earmark.training.config", "train").TrainConfig.load(config).changed(steps=steps, seed=seed)
    experiment = load("earmark.training.experiment", "train").Experiment(run)
    model = experiment.load() if export_only else experiment.train()
    for name, value in experiment.export(model).figures().items():
        typer.echo(f"{name} {value}")
    typer.echo(f"wrote {run.out}")
