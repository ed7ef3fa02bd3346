"""``detect``, ``subscribe``, ``demo``: what can be heard, in files, live, and on the spot."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earmark.app.choices import DemoSource, FileFormat, LiveFormat, Pace
from earmark.contracts.presets import Preset

if TYPE_CHECKING:
    from streamer.sources.channels import Choice


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command()(detect)
    app.command()(subscribe)
    app.command()(demo)


def detect(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Sound files of any format that FFmpeg reads, folders, quoted patterns, playlists, or - for standard "
            "input.",
        ),
    ],
    *,
    kind: Annotated[
        FileFormat, typer.Option("--format", help="Lines for people, programs, tables, Audacity, Raven.")
    ] = FileFormat.TEXT,
    bundle: Annotated[str, typer.Option(help="A bundle that ships, by name, or the folder of one.")] = "urban",
    confirm: Annotated[
        str | None,
        typer.Option(help="Another bundle that must confirm onsets, as engine.confirm.bundle.", show_default=False),
    ] = None,
    preset: Annotated[
        Preset | None,
        typer.Option(help="Few wrong events, or more sounds found.", show_default="the bundle's own choice"),
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option(help="Only this label; may be given again.", show_default=False)
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Onset threshold of all labels, above 0 and up to 1.", show_default="the bundle's"),
    ] = None,
    recorded_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME|from-name|from-file",
            help="When the files begin.",
            show_default="they end when detect reads them",
        ),
    ] = None,
    channel: Annotated[str, typer.Option(help="Channel to analyse, from 0, or mix for the mean of all.")] = "0",
    track: Annotated[
        int | None,
        typer.Option(min=0, help="Audio track to analyse, from 0.", show_default="the one marked as default"),
    ] = None,
) -> None:
    """Detect the sounds in files, as fast as it goes.

    Exits with 0 if all files were whole, 1 if audio is missing in one (cut off, damaged), 2 if one could not be read.
    """
    from earmark.app.commands.progress import Progress
    from earmark.app.config_problems import check_labels
    from earmark.app.detect import detect_files
    from earmark.app.formats import HEADERS, NAMELESS, file_row, nothing_row
    from earmark.app.recorded import reader_of
    from earmark.app.sound_files import find_sound_files
    from earmark.contracts.errors import ConfigError
    from earmark.telemetry.logs import configure_logging
    from engine.detector import Detector

    paths = find_sound_files(files)
    if kind in NAMELESS and len(paths) > 1:
        raise ConfigError(
            f"--format {kind}: expected one FILE, because its lines name none, got {len(paths)}; "
            "run it once for each file, or take --format tsv"
        )
    chosen = _channel(channel)
    configure_logging("detect")
    row = file_row(kind, paths)
    times = reader_of(recorded_at)
    times.check(paths)
    detector = Detector(bundle, preset=preset, confirm=confirm, threshold=threshold)
    wanted = check_labels(labels or detector.labels, detector.labels, "--labels")
    code = 0
    if kind in HEADERS:
        typer.echo(HEADERS[kind])
    with Progress(len(paths)) as progress:
        for result in detect_files(list(paths), detector, channel=chosen, track=track, on_audio=progress.heard):
            events = [event for event in result.events if event.label in wanted]
            begin = times.begin_of(result.path, result.n_samples / detector.sample_rate_hz) if events else None
            for event in events:
                typer.echo(row(result.path, event if begin is None else times.dated(event, begin)))
            if kind is FileFormat.TEXT and not events and result.error is None:
                typer.echo(nothing_row(result.path, paths))
            sys.stdout.flush()
            for line in result.complaints:
                typer.echo(line, err=True)
            code = max(code, result.exit_code)
            progress.file_done()
    raise typer.Exit(code)


def _channel(text: str) -> "Choice":
    from earmark.contracts.errors import ConfigError

    if text == "mix":
        return "mix"
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"--channel: expected a number from 0 or mix, got {text!r}; say --channel 1, for instance")
    return int(text)


def subscribe(
    *,
    address: Annotated[str, typer.Option(help="Where the publishers tell what happens.")] = "tcp://127.0.0.1:7711",
    history: Annotated[str, typer.Option(help="Where they tell what happened before.")] = "tcp://127.0.0.1:7712",
    since: Annotated[
        int | None,
        typer.Option(min=0, help="Begin behind this seq, 0 for everything kept.", show_default="what is to come"),
    ] = None,
    stream: Annotated[
        list[str] | None, typer.Option(help="Only this stream; may be given again.", show_default=False)
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only this label; may be given again.", show_default=False)
    ] = None,
    kind: Annotated[LiveFormat, typer.Option("--format", help="Lines for people or programs.")] = LiveFormat.TEXT,
    key_file: Annotated[Path | None, typer.Option(help="Secret key, where the publishers ask for one.")] = None,
    server_key_file: Annotated[Path | None, typer.Option(help="The publishers' public key.")] = None,
) -> None:
    """Tell each event as it happens, until Ctrl-C."""
    from earmark.app.formats import live_row
    from earmark.client import subscribe as listen
    from earmark.telemetry.logs import configure_logging

    configure_logging("subscribe")
    with listen(
        address,
        history,
        since=since,
        streams=stream or (),
        labels=label or (),
        key_file=key_file,
        server_key_file=server_key_file,
    ) as subscription:
        for event in subscription:
            typer.echo(event.model_dump_json() if kind is LiveFormat.JSONL else live_row(event))
            sys.stdout.flush()


def demo(
    source: Annotated[DemoSource, typer.Option(help="A scene made on the spot, or the room.")] = DemoSource.SYNTHETIC,
    pace: Annotated[Pace, typer.Option(help="How fast the scene goes by.")] = Pace.FAST,
) -> None:
    """Hear something now: the whole service on a scene of 30 s whose truth is known, or on the room."""
    from earmark.app.demo import run_demo

    raise typer.Exit(run_demo(source, pace))
