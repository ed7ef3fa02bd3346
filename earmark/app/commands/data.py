"""``data check`` and ``data scenes``: is labelled audio fit to be trained on, and scenes of it to measure on."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program, as a group."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(invoke_without_command=True)(show_help)
    group.command()(check)
    group.command()(scenes)
    app.add_typer(group, name="data")


def show_help(context: typer.Context) -> None:
    """Look over audio to train on, and mix scenes of it."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def check(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A list of labelled audio, or the folder that has it.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="All of it for programs.")] = False,
    cache: Annotated[Path, typer.Option(help="Where decoded audio is kept, for training too.")] = Path(
        ".cache/training"
    ),
) -> None:
    """Tell what is in labelled audio, what cannot be used and what leaks; exit code 1 if anything does."""
    import json

    from rich.console import Console

    from earmark.app.extras import load
    from earmark.telemetry.logs import configure_logging

    configure_logging("data")
    report = load("earmark.training.check", "train").check(path, cache)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        load("earmark.training.check_tables", "train").print_report(report, Console())
    raise typer.Exit(report.exit_code)


def scenes(
    config: Annotated[Path, typer.Option(help="A training run; says where the audio is.")],
    out: Annotated[Path, typer.Option(help="A new folder for the WAV files and their truth.tsv.")],
    *,
    split: Annotated[str, typer.Option(help="Whose sounds are mixed.")] = "dev",
    count: Annotated[int, typer.Option(min=1, help="Scenes.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same scenes.")] = 0,
    duration_s: Annotated[float, typer.Option(min=2, help="Of each scene.")] = 10.0,
    empty: Annotated[bool, typer.Option(help="Background alone, for false alarms.")] = False,
) -> None:
    """Mix scenes to tune and measure on: 1 to 6 events each, 5 dB below to 25 dB above a background."""
    from earmark.app.extras import load
    from earmark.telemetry.logs import configure_logging

    configure_logging("data")
    chosen = load("earmark.training.config", "train").TrainConfig.load(config)
    files = load("earmark.training.scene_files", "train")
    files.write_scenes(
        files.RunAudio(chosen), out, split=split, count=count, seed=seed, duration_s=duration_s, empty=empty
    )
    typer.echo(f"wrote {count} scenes to {out}")
