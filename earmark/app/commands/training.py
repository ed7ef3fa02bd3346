"""``train``: a bundle from labelled audio."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(train)


def train(
    config: Annotated[Path | None, typer.Option(help="The run, YAML; configs/train has ours.")] = None,
    base: Annotated[
        str | None, typer.Option("--from", help="Add classes to this bundle instead: a name or a folder.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="With --from: the list of the new sounds, or its folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="With --from: folder of the new bundle, whose name it gets.")] = None,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="With --from: forget the classes that the new list does not have.")
    ] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Train for so many steps instead of the config's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the config's.")] = None,
    export_only: Annotated[bool, typer.Option("--export-only", help="Export what is trained, do not train.")] = False,
) -> None:
    """Make a detector from labelled audio: train, tune its smoothing, measure it and write its bundle.

    With --config a new one is trained; a run that was stopped goes on. With --from and --data a bundle that is there
    learns more classes, or knows some better, from 20 clips each and in a few minutes; its other classes score as
    before.
    """
    from earmark.telemetry.logs import configure_logging

    configure_logging("train")
    if config is not None and base is None and data is None and out is None and not replace:
        outs, figures = _train(config, steps, seed, export_only=export_only)
    elif config is None and base is not None and data is not None and steps is None and not export_only:
        outs, figures = _fine_tune(base, data, out, seed, replace=replace)
    else:
        raise typer.BadParameter(
            "expected --config, which goes with --steps, --seed and --export-only, or --from and --data, which go "
            "with --out, --replace and --seed"
        )
    for name, value in figures.items():
        typer.echo(f"{name} {value}")
    typer.echo(f"wrote {' and '.join(map(str, outs))}")


def _train(
    config: Path, steps: int | None, seed: int | None, *, export_only: bool
) -> tuple[list[Path], dict[str, float]]:
    from earmark.app.extras import load

    run = load("earmark.training.config", "train").TrainConfig.load(config).changed(steps=steps, seed=seed)
    if run.window is not None:
        judge = load("earmark.training.window_experiment", "train").WindowExperiment(run)
        return [run.out], judge.export(judge.load() if export_only else judge.train())
    experiment = load("earmark.training.experiment", "train").Experiment
    members = [experiment(run.changed(seed=seed)) for seed in run.seeds]
    models = [member.load() if export_only else member.train() for member in members]
    figures = members[0].export(*models).figures()
    return [run.out, run.out_int8] if run.int8 else [run.out], figures


def _fine_tune(
    base: str, data: Path, out: Path | None, seed: int | None, *, replace: bool
) -> tuple[list[Path], dict[str, float]]:
    from earmark.app.extras import load
    from earmark.contracts.bundle import load_bundle

    finetune = load("earmark.training.finetune", "train")
    bundle = load_bundle(base)
    out = out or Path("models") / f"{bundle.spec.name}-{data.stem}"
    run = finetune.fine_tune_config(bundle, data, out).changed(seed=seed)
    tuning = finetune.FineTuning(bundle, run, replace=replace)
    return [out], tuning.export(tuning.train()).figures()
