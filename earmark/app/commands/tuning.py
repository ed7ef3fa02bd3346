"""``tune``: how each class's scores become events, chosen on real recordings and annotated scenes."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earmark.contracts.errors import ConfigError
from earmark.contracts.presets import DEFAULT_PRESET, Preset

if TYPE_CHECKING:
    from rich.table import Table

    from earmark.contracts.bundle import Bundle, BundleSpec, Smoothing
    from earmark.evaluation.annotations import Annotations
    from earmark.evaluation.material import Material, Outcome
    from earmark.evaluation.real import RealRecording
    from earmark.evaluation.scoring import ScoredFiles
    from earmark.evaluation.tuning import Tuned

_COLUMNS = ("found", "wrong events/h", "time wrong", "music wrong", "event F1")


def add_to(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(tune)


def tune(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A bundle that ships, by name, or the folder of one.")
    ],
    *,
    real: Annotated[
        Path | None,
        typer.Option(metavar="LIST", help="Real recordings, as for `earmark evaluate`.", show_default=False),
    ] = None,
    scenes: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Sound files and their truth.tsv; may be given again.", show_default=False),
    ] = None,
    preset: Annotated[Preset, typer.Option(help="Which preset decides unless the service chooses one.")] = (
        DEFAULT_PRESET
    ),
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for a copy of the bundle; a bundle that ships wants one.",
            show_default="the bundle itself changes",
        ),
    ] = None,
) -> None:
    """Tune a bundle's presets on real recordings and annotated scenes, and write them into the bundle.

    Each preset finds as much as it can within its budget of wrong events and wrong time, over all classes together.
    Wrong events are counted in the real recordings; without --real, in the scenes.
    """
    from rich.console import Console

    from earmark.contracts.bundle import load_bundle
    from earmark.evaluation.real import read_real
    from earmark.evaluation.simulation import decided_events
    from earmark.evaluation.tuning import tune as choose
    from earmark.evaluation.tuning import with_presets
    from earmark.telemetry.logs import configure_logging

    configure_logging("tune")
    loaded = load_bundle(bundle)
    _check_out(bundle, out)
    truths = {folder: _read_truth(folder) for folder in dict.fromkeys(scenes or [])}
    recordings = [] if real is None else read_real(real)
    _check_labels(truths, loaded.spec)
    if not recordings and not any(any(of.values()) for of in truths.values()):
        raise ConfigError("expected --real LIST or --scenes DIR with an event in its truth.tsv, got neither")
    material = _material(loaded, truths, real, recordings)
    tuned = choose(material, loaded.spec)
    before = material.outcome(decided_events(material.scored, loaded.spec, loaded.spec.smoothing_of))
    console = Console(width=max(Console().width, 140))
    console.print(_outcomes(before, tuned))
    console.print(_settings(tuned[preset].smoothing, loaded.spec, preset))
    note = f"in three presets on {len(material.scenes)} scenes and {len(recordings)} real recordings"
    spec_file = _write(loaded, with_presets(loaded.spec, tuned, note, preset), out)
    typer.echo(f"wrote {spec_file}; a card beside it is of the smoothing before, `earmark evaluate` measures this one")


def _check_out(bundle: str, out: Path | None) -> None:
    if out is None:
        if not Path(bundle).is_dir():
            raise ConfigError(f"--out: expected a new folder, got none, and {bundle!r}, which ships, stays as it is")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out: expected a new or empty folder, got {out}, which holds something; name another")


def _read_truth(folder: Path) -> "Annotations":
    from earmark.evaluation.annotations import TRUTH_FILE, read_tsv

    truth = read_tsv(folder / TRUTH_FILE)
    if missing := [name for name in truth if not (folder / name).is_file()]:
        raise ConfigError(
            f"{folder / TRUTH_FILE}: expected the files that it names beside it, got no {missing[0]} "
            f"({len(missing)} missing in all); put them there"
        )
    return truth


def _check_labels(truths: "dict[Path, Annotations]", spec: "BundleSpec") -> None:
    """Events of a label that the bundle does not have would count for nothing, and nobody would notice."""
    from earmark.app.config_problems import nearest
    from earmark.evaluation.annotations import TRUTH_FILE, labels_of

    known = set(spec.labels)
    wrong = [
        f"{folder / TRUTH_FILE}: model {spec.name!r} has no label {label!r}{nearest(label, known)}"
        for folder, truth in truths.items()
        for label in sorted(labels_of(truth) - known)
    ]
    if wrong:
        raise ConfigError("\n".join(wrong))


def _material(
    bundle: "Bundle", truths: "dict[Path, Annotations]", real: Path | None, recordings: "list[RealRecording]"
) -> "Material":
    """All files with their scores, by path."""
    from dataclasses import replace

    from earmark.app.commands.progress import Progress
    from earmark.evaluation.annotations import inside_files, read_ignored
    from earmark.evaluation.material import Material
    from earmark.evaluation.scoring import ScoredFiles, score_files

    folders = {folder: list(truth) for folder, truth in truths.items()}
    if real is not None:
        folders[real.parent] = [*folders.get(real.parent, []), *(one.file for one in recordings)]
    scored = ScoredFiles(bundle.spec.labels, bundle.spec.output_hop / bundle.spec.sample_rate_hz, {}, {})
    with Progress(sum(map(len, folders.values()))) as progress:
        for folder, names in folders.items():
            _add(scored, score_files(bundle, folder, names, on_audio=progress.heard), folder)
            for _ in names:
                progress.file_done()
    scenes = {str(folder / name): events for folder, of in truths.items() for name, events in of.items()}
    listed = [replace(one, file=str(real.parent / one.file)) for one in recordings] if real else []
    ignored = {
        str(folder / name): extents
        for folder, of in truths.items()
        for name, extents in read_ignored(folder, of).items()
    }
    return Material(scored, inside_files(scenes, scored.durations_s), listed, ignored)


def _add(scored: "ScoredFiles", more: "ScoredFiles", folder: Path) -> None:
    scored.scores.update({str(folder / name): scores for name, scores in more.scores.items()})
    scored.durations_s.update({str(folder / name): seconds for name, seconds in more.durations_s.items()})


def _outcomes(before: "Outcome", tuned: "Mapping[Preset, Tuned]") -> "Table":
    """What each preset does here, and what to expect of it elsewhere."""
    from rich.table import Table

    table = Table(title="Elsewhere: on files that the choice was not made on, by folds", box=None)
    table.add_column("preset", no_wrap=True)
    for name in (*_COLUMNS, *(f"{name} elsewhere" for name in _COLUMNS)):
        table.add_column(name, justify="right")
    table.add_row("before", *_figures(before))
    for preset, one in tuned.items():
        table.add_row(preset, *_figures(one.here), *_figures(one.elsewhere))
    return table


def _figures(outcome: "Outcome") -> list[str]:
    watched = outcome.watched
    shares = (watched.wrong_share, outcome.music_wrong_share)
    return [
        _number(watched.found_share, "{:.1%}"),
        _number(watched.wrong_per_hour, "{:.1f}"),
        *(_number(share, "{:.2%}") for share in shares),
        _number(outcome.event_f1, "{:.3f}"),
    ]


def _number(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else "-"


def _settings(smoothing: "Mapping[str, Smoothing]", spec: "BundleSpec", preset: Preset) -> "Table":
    from rich.table import Table

    frame_ms = 1000 * spec.output_hop / spec.sample_rate_hz
    table = Table(title=f"Preset {preset}, which decides", box=None)
    table.add_column("label", no_wrap=True)
    for name in (f"median x {frame_ms:g} ms", "onset", "offset", "gap s", "least s", "unproven s"):
        table.add_column(name, justify="right")
    for label, one in smoothing.items():
        seconds = (one.min_gap_s, one.min_duration_s, one.max_unproven_s)
        thresholds = (one.onset_threshold, one.offset_threshold)
        table.add_row(label, str(one.median_frames), *(f"{value:g}" for value in (*thresholds, *seconds)))
    return table


def _write(bundle: "Bundle", spec: "BundleSpec", out: Path | None) -> Path:
    """Write ``spec`` into the bundle, or into a copy of it; whole, or not at all."""
    from earmark.contracts.bundle import SPEC_FILE

    try:
        if out is not None:
            shutil.copytree(bundle.folder, out, dirs_exist_ok=True)
        target = (out or bundle.folder) / SPEC_FILE
        fresh = target.with_suffix(".json.new")
        fresh.write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
        fresh.replace(target)
    except OSError as error:
        raise ConfigError(
            f"{out or bundle.folder}: expected a folder to write the bundle into, got: {error}; give --out"
        ) from error
    return target
