"""``tune``: how each class's scores become events, chosen on annotated scenes."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

import math
import shutil
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earmark.contracts.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from earmark.contracts.bundle import Bundle, BundleSpec
    from earmark.evaluation.annotations import Annotations
    from earmark.evaluation.scoring import ScoredFiles
    from earmark.evaluation.tuning import Effect, Tuned

_COLUMNS = ("F1 before", "after", "elsewhere", "FA/h before", "after", "elsewhere")
"""Elsewhere: on scenes that the choice was not made on, by folds."""


class Metric(StrEnum):
    """What is to be found well."""

    EVENT = "event"
    ONSET = "onset"
    SEGMENT = "segment"


def add_to(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(tune)


def tune(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A bundle that ships, by name, or the folder of one.")
    ],
    *,
    scenes: Annotated[
        list[Path],
        typer.Option(
            metavar="DIR",
            help="Sound files and their truth.tsv; may be given again. One without any event counts for false alarms.",
        ),
    ],
    max_false_alarms_per_hour: Annotated[
        float, typer.Option(min=0, help="Of a label, in the files without it, on average.")
    ] = 1.0,
    metric: Annotated[
        Metric, typer.Option(help="What F1 is of: events, their onsets alone, or seconds.")
    ] = Metric.EVENT,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for a copy of the bundle; a bundle that ships wants one.",
            show_default="the bundle itself changes",
        ),
    ] = None,
) -> None:
    """Choose each label's median, thresholds and durations on annotated scenes, and write them into the bundle."""
    from rich.console import Console

    from earmark.contracts.bundle import load_bundle
    from earmark.evaluation.annotations import TRUTH_FILE
    from earmark.evaluation.measures import check_ends
    from earmark.evaluation.tuning import MOST_OF_A_CLASS, with_smoothing
    from earmark.evaluation.tuning import tune as choose
    from earmark.telemetry.logs import configure_logging

    configure_logging("tune")
    if not math.isfinite(max_false_alarms_per_hour):
        raise ConfigError(
            f"--max-false-alarms-per-hour: expected a number, got {max_false_alarms_per_hour}; say 100000 for no bound"
        )
    loaded = load_bundle(bundle)
    _check_out(bundle, out)
    truths = {folder: _read_truth(folder) for folder in dict.fromkeys(scenes)}
    _check_labels(truths, loaded.spec)
    truth = {str(folder / name): events for folder, of in truths.items() for name, events in of.items()}
    judged = {str(folder / name) for folder, of in truths.items() if any(of.values()) for name in of}
    if not judged:
        raise ConfigError(f"--scenes: expected an event in a {TRUTH_FILE}, got none; add a folder that has some")
    scored = _score(loaded, truths)
    check_ends(truth, scored.durations_s)
    tuned = choose(
        scored,
        truth,
        loaded.spec,
        max_false_alarms_per_hour=max_false_alarms_per_hour,
        metric=metric.value,
        judged=judged,
    )
    Console(width=max(Console().width, 140)).print(_table(tuned, loaded.spec, metric))
    most = MOST_OF_A_CLASS * max_false_alarms_per_hour
    for one in tuned:
        if not one.is_bounded:
            typer.echo(
                f"earmark: warning: {one.label}: expected a setting with at most {most:g} false "
                f"alarms an hour, got {one.effect_after.alarms.per_hour:.2f} at best; train it on what it mistakes",
                err=True,
            )
    note = f"for {metric} F1 at {max_false_alarms_per_hour:g} false alarms/h a label on average on {len(truth)} files"
    spec_file = _write(loaded, with_smoothing(loaded.spec, tuned, note), out)
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


def _score(bundle: "Bundle", truths: "dict[Path, Annotations]") -> "ScoredFiles":
    """The scores of all folders' files, by path."""
    from earmark.app.commands.progress import Progress
    from earmark.evaluation.scoring import ScoredFiles, score_files

    all_of = ScoredFiles(bundle.spec.labels, bundle.spec.output_hop / bundle.spec.sample_rate_hz, {}, {})
    with Progress(sum(map(len, truths.values()))) as progress:
        for folder, truth in truths.items():
            scored = score_files(bundle, folder, list(truth), on_audio=progress.heard)
            all_of.scores.update({str(folder / name): scores for name, scores in scored.scores.items()})
            all_of.durations_s.update({str(folder / name): seconds for name, seconds in scored.durations_s.items()})
            for _ in truth:
                progress.file_done()
    return all_of


def _table(tuned: "Sequence[Tuned]", spec: "BundleSpec", metric: Metric) -> "Table":
    from rich.table import Table

    from earmark.evaluation.events import Tally

    frame_ms = 1000 * spec.output_hop / spec.sample_rate_hz
    table = Table(title=f"{metric} F1 and false alarms an hour (FA/h)", box=None)
    table.add_column("label", no_wrap=True)
    for name in ("true", f"median x {frame_ms:g} ms", "onset", "offset", "gap s", "least s", *(_COLUMNS)):
        table.add_column(name, justify="right")
    for one in tuned:
        table.add_row(one.label, *_figures(one))
    of_all = [
        dict(zip((one.label for one in tuned), effects, strict=True))
        for effects in zip(*map(_effects, tuned), strict=True)
    ]
    tallies = [Tally({label: effect.counts for label, effect in effects.items()}) for effects in of_all]
    rates = [sum(each.alarms.per_hour for each in effects.values() if each.alarms.hours) for effects in of_all]
    blank = ("",) * 5
    n_true = str(tallies[0].total.n_true)
    table.add_row("all together", n_true, *blank, *(_share(t.micro.f1) for t in tallies), *map(_rate, rates))
    table.add_row("mean of labels", "", *blank, *(_share(tally.macro.f1) for tally in tallies))
    return table


def _effects(one: "Tuned") -> "tuple[Effect, ...]":
    return one.effect_before, one.effect_after, one.effect_elsewhere


def _figures(one: "Tuned") -> tuple[str, ...]:
    chosen, effects = one.after, _effects(one)
    numbers = (chosen.onset_threshold, chosen.offset_threshold, chosen.min_gap_s, chosen.min_duration_s)
    return (
        str(one.effect_after.counts.n_true),
        str(chosen.median_frames),
        *(f"{number:g}" for number in numbers),
        *(_share(effect.counts.f1) for effect in effects),
        *(_rate(effect.alarms.per_hour) for effect in effects),
    )


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _rate(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


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
