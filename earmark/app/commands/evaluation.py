"""``evaluate``: how good a bundle is, on labelled audio."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command()(evaluate)


def evaluate(
    bundle: Annotated[str, typer.Argument(help="A bundle that ships, by name, or the folder of one.")] = "urban",
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the report goes.")],
    scenes: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with truth.tsv and the files that it names.", show_default=False),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder with index.csv (file, kind, split, label) and its files.", show_default=False
        ),
    ] = None,
    truth: Annotated[str, typer.Option(metavar="FILE", help="Table to read in its place.")] = "truth.tsv",
    split: Annotated[str, typer.Option(help="Which of the clips.")] = "dev",
    real: Annotated[
        Path | None,
        typer.Option(
            metavar="LIST",
            help="CSV of real recordings (file, expected, allowed, seconds, kind, title) beside their folder.",
            show_default=False,
        ),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="Also measure yamnet=DIR or mn04=DIR on the real recordings; may be repeated.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that score.")] = 1,
) -> None:
    """Measure a bundle on scenes, clips and real recordings, and write a report with plots."""
    from rich.console import Console
    from rich.table import Table

    from earmark.app.commands.progress import Progress
    from earmark.app.extras import load
    from earmark.contracts.bundle import load_bundle
    from earmark.contracts.errors import ConfigError
    from earmark.telemetry.logs import configure_logging

    configure_logging("evaluate")
    evaluating = load("earmark.evaluation.evaluate", "evaluate")
    reporting = load("earmark.evaluation.report", "evaluate")
    chosen = load_bundle(bundle)
    if peer and real is None:
        raise ConfigError("--peer: expected --real LIST beside it, got none; peers are measured on real recordings")
    audio = evaluating.LabelledAudio.find(scenes, clips, split, real, table=truth)
    peers = [load("earmark.training.peers", "train").open_peer(text, chosen.spec.labels) for text in peer or ()]
    n_real = 0 if audio.real is None else len(audio.real[1])
    with Progress(audio.n_files + len(peers) * n_real) as progress:
        evaluation = evaluating.evaluate(
            chosen,
            audio,
            out,
            command=_again(
                bundle, scenes=scenes, truth=truth, clips=clips, split=split, real=real, peers=peer or (), out=out
            ),
            peers=peers,
            jobs=jobs,
            progress=evaluating.Progress(progress.heard, progress.file_done),
        )
    table = Table(title=f"{chosen.identity} ({out / 'report.html'})", show_header=False)
    for name, value in reporting.headlines(evaluation):
        table.add_row(name, value)
    Console().print(table)


def _again(
    bundle: str,
    *,
    scenes: Path | None,
    truth: str,
    clips: Path | None,
    split: str,
    real: Path | None,
    peers: Sequence[str],
    out: Path,
) -> str:
    """The command that was given."""
    words = ["earmark", "evaluate", bundle]
    words += [] if scenes is None else ["--scenes", str(scenes)]
    words += [] if truth == "truth.tsv" else ["--truth", truth]
    words += [] if clips is None else ["--clips", str(clips), "--split", split]
    words += [] if real is None else ["--real", str(real)]
    for peer in peers:
        words += ["--peer", peer]
    return shlex.join([*words, "--out", str(out)])
