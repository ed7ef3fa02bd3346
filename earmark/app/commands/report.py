"""``report``: what a long recording holds, as a table and a picture."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earmark.contracts.errors import ConfigError

if TYPE_CHECKING:
    from earmark.app.detect import FileResult
    from earmark.evaluation.overview import Overview
    from earmark.evaluation.timeline import Recording

_KINDS = (".png", ".svg", ".html")


class TableFormat(StrEnum):
    """How ``earmark report`` tells its figures."""

    TABLE = "table"
    TSV = "tsv"
    JSON = "json"


def add_to(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(report)


def report(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sound file of any format that FFmpeg reads.")],
    *,
    bundle: Annotated[str, typer.Option(help="A bundle that ships, by name, or the folder of one.")] = "urban",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where the picture goes: .png, .svg or .html; an older one is replaced.",
            show_default="FILE's name with -report.png, here",
        ),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Only these, with commas between them.", show_default="all that are heard")
    ] = None,
    kind: Annotated[TableFormat, typer.Option("--format", help="The figures for people or programs.")] = (
        TableFormat.TABLE
    ),
    channel: Annotated[int, typer.Option(min=0, help="Which channel is heard.")] = 0,
) -> None:
    """Tell what a long recording holds: figures for each class, and a picture of it over time.

    Exits with 0 if the file was whole, 1 if audio is missing in it (cut off, damaged), 2 if it could not be read.
    """
    from earmark.app.extras import load
    from earmark.contracts.bundle import load_bundle
    from earmark.evaluation.overview import Overview
    from earmark.telemetry.logs import configure_logging

    timeline = load("earmark.evaluation.timeline", "evaluate")
    configure_logging("report")
    picture = _check_picture(file, out)
    spec = load_bundle(bundle).spec
    wanted = None if labels is None else _check_labels(labels, spec.labels)
    overview = Overview(spec.front_end)
    result = _hear(file, bundle, channel, overview)
    if result.n_samples:
        recording = timeline.Recording(
            file.name,
            result.n_samples / spec.sample_rate_hz,
            result.events,
            overview,
            labels=wanted,
            ended_early=_why_early(result),
        )
        typer.echo(_figures(recording, kind, file, picture))
        _write(picture, timeline.render(recording, picture.suffix.lower().removeprefix(".")))
    for line in result.complaints:
        typer.echo(line, err=True)
    raise typer.Exit(result.exit_code)


def _why_early(result: "FileResult") -> str | None:
    cut_off = result.notices.get("cut_off")
    if result.error is not None:
        return str(result.error)
    return None if cut_off is None else cut_off.problem


def _hear(file: Path, bundle: str, channel: int, overview: "Overview") -> "FileResult":
    """What is in the file, as `earmark detect` tells it; ``overview`` sees each piece of the audio on its way."""
    from earmark.app.commands.progress import Progress
    from earmark.app.detect import detect_files
    from engine.detector import Detector

    with Progress(1) as progress:
        (result,) = detect_files(
            [file],
            Detector(bundle),
            channel=channel,
            on_audio=progress.heard,
            on_piece=lambda _, pcm: overview.add(pcm),
        )
    return result


def _check_picture(file: Path, out: Path | None) -> Path:
    """Where the picture goes; what is wrong with that is told before hours of audio are heard."""
    picture = Path(f"{file.stem}-report.png") if out is None else out
    if picture.suffix.lower() not in _KINDS:
        raise ConfigError(f"--out {picture}: expected a name that ends in {', '.join(_KINDS)}; choose one of them")
    try:
        if not picture.parent.is_dir():
            raise ConfigError(f"--out {picture}: expected a folder {picture.parent} to write into, got none; make it")
        if picture.is_dir():
            raise ConfigError(f"--out {picture}: expected a file, got a folder; name a file in it")
        if picture.exists() and file.exists() and picture.samefile(file):
            raise ConfigError(f"--out {picture}: expected another file than the recording itself; choose another name")
    except OSError as error:
        raise ConfigError(f"--out {picture}: expected a place to write to, got: {error.strerror}") from error
    return picture


def _check_labels(text: str, known: Sequence[str]) -> tuple[str, ...]:
    from earmark.app.config_problems import nearest

    labels = tuple(dict.fromkeys(label.strip() for label in text.split(",") if label.strip()))
    if not labels:
        raise ConfigError(f"--labels {text!r}: expected labels with commas between them; `earmark models` lists them")
    for label in labels:
        if label not in known:
            raise ConfigError(f"--labels: the bundle has no label {label!r}{nearest(label, known)}")
    return labels


def _write(picture: Path, content: bytes) -> None:
    try:
        picture.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"--out {picture}: expected to write there, got: {error.strerror}; choose another") from error


def _figures(recording: "Recording", kind: TableFormat, file: Path, picture: Path) -> str:
    texts = {TableFormat.TABLE: _table, TableFormat.TSV: _tsv, TableFormat.JSON: _json}
    return texts[kind](recording, file, picture)


def _table(recording: "Recording", file: Path, picture: Path) -> str:
    from earmark.evaluation.timeline import COLUMNS, cells, part_length_s, span_text, summarise

    classes = summarise(recording)
    part_s = part_length_s(recording.duration_s)
    rows = [COLUMNS, *(cells(one, part_s) for one in classes)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" if place == 0 else f"{cell:>{width}}" for place, (cell, width) in cells_of)
        for cells_of in (enumerate(zip(row, widths, strict=True)) for row in rows)
    ]
    early = ", where it ended early" if recording.ended_early else ""
    head = f"{file}: {span_text(recording.duration_s)} analysed{early}"
    return "\n".join([head, "", *(lines if classes else ["nothing heard"]), "", f"picture: {picture}"])


def _tsv(recording: "Recording", file: Path, _picture: Path) -> str:
    from dataclasses import fields

    from earmark.evaluation.timeline import ClassSummary

    rows = _rows(recording)
    names = ["filename", "analysed_s", *(field.name for field in fields(ClassSummary))]
    cells = [[file.name, round(recording.duration_s, 3), *row.values()] for row in rows]
    return "\n".join("\t".join("" if cell is None else str(cell) for cell in line) for line in [names, *cells])


def _json(recording: "Recording", file: Path, picture: Path) -> str:
    from earmark.evaluation.timeline import part_length_s

    document = {
        "filename": str(file),
        "analysed_s": round(recording.duration_s, 3),
        "ended_early": recording.ended_early,
        "part_s": part_length_s(recording.duration_s),
        "picture": str(picture),
        "classes": _rows(recording),
    }
    return json.dumps(document, indent=2)


def _rows(recording: "Recording") -> list[dict[str, str | float | None]]:
    from dataclasses import asdict

    from earmark.evaluation.timeline import summarise

    return [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(one).items()}
        for one in summarise(recording)
    ]
