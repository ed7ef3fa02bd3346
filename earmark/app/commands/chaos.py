"""``chaos``: break a copy of a service on purpose, and look whether it told the truth all the same."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

from pathlib import Path
from typing import Annotated, Any

import typer


def add_to(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(chaos)


def chaos(
    *,
    config: Annotated[Path, typer.Option(metavar="FILE", help="The service's YAML file.", show_default=False)],
    seed: Annotated[int, typer.Option(min=0, help="Of the first schedule; the next ones count up.")] = 0,
    minutes: Annotated[float, typer.Option(min=0, help="How long; one schedule runs at least.")] = 10.0,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RESULTS", help="Write each outcome there, and go on after those in it.", show_default=False
        ),
    ] = None,
) -> None:
    """Break a copy of a service at random, again and again, and compare its events with those of a quiet run.

    The copy has the configuration's bundle, engines, smoothing and ring, but ports, an outbox and made scenes of its
    own, and no sinks but ZeroMQ and JSON Lines: nobody outside hears of it. As root it has a small disk of its own too.
    Exit code 1 where anything differs that the faults do not explain.
    """
    from earmark.app.extras import load
    from earmark.app.load import load_service

    running, staging = load("earmark.chaos.run", "bench"), load("earmark.chaos.staging", "bench")
    staged = staging.stage(load_service(config))
    typer.echo(f"{staged.name}; from seed {seed}", err=True)

    def tell(outcome: Any) -> None:
        typer.echo(running.in_words(outcome), err=True)

    outcomes = running.run_schedules(staged, seed, minutes, resume, tell)
    typer.echo(running.summary(outcomes))
    raise typer.Exit(int(any(outcome.differences for outcome in outcomes)))
