"""``bench``: how fast a bundle runs on this machine."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

import os
import shlex
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from earmark.contracts.errors import ConfigError


class What(StrEnum):
    """What ``earmark bench`` measures."""

    STREAMS = "streams"
    LATENCY = "latency"
    STEP = "step"
    MEMORY = "memory"
    PEERS = "peers"
    GPU = "gpu"
    ALL = "all"


def add_to(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(bench)


def bench(
    what: Annotated[What, typer.Argument(help="One part of it.")] = What.ALL,
    *,
    bundle: Annotated[str, typer.Option(help="A bundle that ships, by name, or the folder of one.")] = "urban",
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the figures for programs.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a report with plots.", show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Try it out; the figures then mean little.")] = False,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Labelled audio to send; without it, made sounds.")] = Path(
        "../shared/data"
    ),
    peers: Annotated[Path, typer.Option(metavar="DIR", help="Peers that PyPI does not have.")] = Path(
        "../shared/peers"
    ),
) -> None:
    """Measure how many streams a core carries, and how fast.

    One core is measured and another one sends, where there are two. Keep the machine quiet.
    """
    from earmark.app.extras import load
    from earmark.telemetry.logs import LEVEL_VARIABLE, configure_logging

    quiet = {LEVEL_VARIABLE: os.environ.get(LEVEL_VARIABLE, "warning")}
    plots = None if out is None else load("earmark.benchmark.plots", "evaluate")
    running, reporting = load("earmark.benchmark.run", "bench"), load("earmark.benchmark.report", "bench")
    settings = running.Settings.here(bundle, data, peers, quick=quick)
    _check_writable(json, out)
    parts = running.PARTS if what is What.ALL else (what.value,)
    command = _again(what, bundle, quick=quick)
    with _environment(quiet):
        configure_logging("bench")
        document = running.run(settings, parts, command, tell=_tell)
    typer.echo(reporting.to_markdown(document), nl=False)
    if json is not None:
        json.write_text(reporting.to_json(document), "utf-8")
    if out is not None and plots is not None:
        reporting.write_report(out, document, plots.draw(document))


@contextmanager
def _environment(variables: Mapping[str, str]) -> Generator[None]:
    """Set for the processes that are started inside."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _tell(what: str) -> None:
    typer.echo(f"measuring {what}", err=True)


def _check_writable(json: Path | None, out: Path | None) -> None:
    """Make the folder of the report; what is wrong is told before minutes are spent.

    Raises:
        ConfigError: Something cannot be written where it should.
    """
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        if json is not None:
            json.open("a").close()
    except OSError as error:
        raise ConfigError(
            f"expected to write to {error.filename!r}, got: {error.strerror}; name another place"
        ) from error


def _again(what: What, bundle: str, *, quick: bool) -> str:
    """The command that was given, as far as figures depend on it."""
    words = ["earmark", "bench", what.value]
    words += [] if bundle == "urban" else ["--bundle", bundle]
    return shlex.join([*words, *(["--quick"] if quick else [])])
