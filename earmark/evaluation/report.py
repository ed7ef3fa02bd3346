"""What `earmark evaluate` writes: one set of figures as Markdown, as a page that needs no other file, and as JSON."""

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from earmark.evaluation.events import Average, Delays, Tally
from earmark.evaluation.figures import figures_of, quantile
from earmark.evaluation.measures import ClipMeasures, Evaluation, SceneMeasures
from earmark.evaluation.plots import draw_bars, draw_confusions, draw_curves, draw_delays, draw_reliability
from earmark.evaluation.psds import PSDS1
from earmark.evaluation.real_report import draw_real, real_headlines, real_sections
from earmark.evaluation.sections import Section, Table, number, percent

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(out: Path, evaluation: Evaluation) -> None:
    """Write ``report.md``, ``report.html``, ``figures.json`` and the plots into the folder ``out``."""
    pictures = draw(evaluation)
    for name, png in pictures.items():
        (out / name).write_bytes(png)
    (out / "figures.json").write_text(json.dumps(figures_of(evaluation), indent=1, allow_nan=False) + "\n", "utf-8")
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in ("report.md", "report.html"):
        text = environment.get_template(f"{name}.j2").render(
            title=f"{evaluation.bundle.spec.name}, measured",
            bundle=evaluation.bundle,
            command=evaluation.command,
            sections=sections_of(evaluation),
            embedded={name: base64.b64encode(png).decode() for name, png in pictures.items()},
        )
        (out / name).write_text(text, "utf-8")


def headlines(evaluation: Evaluation) -> list[tuple[str, str]]:
    """The few figures to look at first, with their names."""
    lines = [] if evaluation.scenes is None else _scene_headlines(evaluation.scenes)
    for name, clips in evaluation.clips.parts if evaluation.clips is not None else ():
        lines += _clip_headlines(name, clips)
    return lines if evaluation.real is None else [*real_headlines(evaluation.real), *lines]


def _scene_headlines(scenes: SceneMeasures) -> list[tuple[str, str]]:
    counted = (("event", scenes.event), ("onset", scenes.onset), ("segment", scenes.segment))
    return [
        ("scenes", f"{scenes.n_files} files, {scenes.hours:.2f} h, {scenes.n_events} events"),
        *((f"{name} F1 %, micro / macro", _both(percent, tally.micro.f1, tally.macro.f1)) for name, tally in counted),
        ("PSDS1 / PSDS2", _both(number, scenes.psds1.score, scenes.psds2.score)),
        ("decision behind the onset s, median / 90 %", " / ".join(_quantiles(scenes.delays.decisions_s))),
        ("false alarms an hour, all labels", number(scenes.false_alarms_per_hour, 1)),
        ("calibration error", number(scenes.reliability.expected_error, 4)),
    ]


def _clip_headlines(name: str, clips: ClipMeasures) -> list[tuple[str, str]]:
    ranking, found = clips.ranking, clips.by_event.micro
    lines = [
        (name, f"{clips.n_clips} files, {clips.hours:.2f} h"),
        ("accuracy / top 5 %", _both(percent, ranking.accuracy, ranking.top5)),
        ("found by an event %, recall / precision", _both(percent, found.recall, found.precision)),
    ]
    if clips.n_classes > 1:
        lines.append(("mAP / LWLRAP", _both(number, ranking.mean_average_precision, ranking.lwlrap)))
    return lines


def draw(evaluation: Evaluation) -> dict[str, bytes]:
    """The plots, by file name."""
    pictures: dict[str, bytes] = {}
    if (scenes := evaluation.scenes) is not None:
        f1 = {label: counts.f1 for label, counts in scenes.event.by_label.items()}
        alarms = {label: alarms.per_hour for label, alarms in scenes.false_alarms.items() if alarms.count}
        curves = {
            f"{name} = {number(psds.score)}": psds.curve
            for name, psds in (("PSDS1", scenes.psds1), ("PSDS2", scenes.psds2))
        }
        pictures = {
            "event_f1.png": draw_bars(f1, "Event F1", "F1", 1),
            "psd_roc.png": draw_curves(curves, PSDS1.max_fp_per_hour),
            "delays.png": draw_delays(scenes.delays.decisions_s),
            "false_alarms.png": draw_bars(alarms, "False alarms", "an hour, in files without the label"),
            "reliability.png": draw_reliability(scenes.reliability),
        }
    if evaluation.clips is not None and (clips := evaluation.clips.main) is not None:
        recall = {label: counts.recall for label, counts in clips.by_event.by_label.items()}
        pictures["clips_found.png"] = draw_bars(recall, "Clips with an event of their class", "share", 1)
        pictures["confusions.png"] = draw_confusions(clips.confusions, clips.labels)
    return pictures if evaluation.real is None else draw_real(evaluation.real) | pictures


def sections_of(evaluation: Evaluation) -> list[Section]:
    """The report's parts, in order."""
    sections = [Section("In short", (), (Table(("", ""), headlines(evaluation)),))]
    if evaluation.real is not None:
        sections += real_sections(evaluation.real)
    if evaluation.scenes is not None:
        sections += _scene_sections(evaluation.scenes)
    if evaluation.clips is not None:
        for name, clips in evaluation.clips.parts:
            sections.append(_clip_section(name, clips))
        if evaluation.clips.left_out:
            sections.append(Section("Clips left out", (_left_out(evaluation.clips.left_out),)))
    return sections


def _scene_sections(scenes: SceneMeasures) -> Iterable[Section]:
    counted = (("events", scenes.event), ("onsets", scenes.onset), ("segments", scenes.segment))
    text = (
        f"{scenes.n_files} files, {scenes.hours:.3f} h, {scenes.n_events} events. Events: onset within 200 ms, offset "
        "within 200 ms or 20 % of the event's length. Onsets: onset within 200 ms. Segments: of 1 s. Macro is the mean "
        "over labels that have events; a label that is never detected has a precision of 0."
    )
    ignored = (_ignored(scenes.n_ignored),) if scenes.n_ignored else ()
    left_out = (_left_out(scenes.left_out),) if scenes.left_out else ()
    yield Section("Scenes", (text, *ignored, *left_out), (_averages(counted),))
    yield Section(
        "Polyphonic sound detection score",
        ("Over all thresholds, of scores after the bundle's medians, for labels that have events.",),
        (Table(("", "score"), [("PSDS1", number(scenes.psds1.score)), ("PSDS2", number(scenes.psds2.score))]),),
        ("psd_roc.png",),
    )
    yield _delay_section(scenes.delays)
    text = (
        f"Detected events of a label in files that have none of it: {number(scenes.false_alarms_per_hour, 1)} an hour "
        "over all labels together."
    )
    yield Section("False alarms", (text,), pictures=("false_alarms.png",))
    text = f"Expected calibration error over all frames and labels: {number(scenes.reliability.expected_error, 4)}."
    yield Section("Calibration", (text,), pictures=("reliability.png",))
    yield Section("Each label in scenes", (), (_label_table(scenes),), ("event_f1.png",))


def _delay_section(delays: Delays) -> Section:
    text = (
        "Of true events that a detected event of their label overlaps, in seconds: the detected onset less the true "
        "one, and the audio that was heard before the event was told of, less the true onset."
    )
    measured = (("onset error", delays.onset_errors_s), ("decision", delays.decisions_s))
    rows = [(name, str(len(seconds)), *_quantiles(seconds)) for name, seconds in measured]
    return Section("Delays", (text,), (Table(("s", "events", "median", "90 %"), rows),), ("delays.png",))


def _averages(counted: Iterable[tuple[str, Tally]]) -> Table:
    return Table(
        ("%", "precision", "recall", "F1", "macro precision", "macro recall", "macro F1"),
        [[name, *_percents(tally.micro), *_percents(tally.macro)] for name, tally in counted],
    )


def _label_table(scenes: SceneMeasures) -> Table:
    header = (
        "label", "events", "event P", "R", "F1", "onset F1", "segment F1", "PSDS1", "PSDS2", "false alarms", "an hour"
    )  # fmt: skip
    rows = [
        [
            label,
            str(counts.n_true),
            *(percent(value) for value in (counts.precision, counts.recall, counts.f1)),
            percent(scenes.onset.by_label[label].f1),
            percent(scenes.segment.by_label[label].f1),
            number(scenes.psds1.by_label.get(label, math.nan)),
            number(scenes.psds2.by_label.get(label, math.nan)),
            str(scenes.false_alarms[label].count),
            number(scenes.false_alarms[label].per_hour, 2),
        ]
        for label, counts in scenes.event.by_label.items()
        if counts.n_true or counts.fp
    ]
    return Table(header, rows)


def _clip_section(name: str, clips: ClipMeasures) -> Section:
    ranking = clips.ranking
    counted = (("score at the onset threshold", clips.by_score), ("an event was detected", clips.by_event))
    ranks: list[tuple[str, str]] = [("accuracy %", percent(ranking.accuracy)), ("top 5 %", percent(ranking.top5))]
    several = clips.n_classes > 1
    if several:
        ranks += [("mAP", number(ranking.mean_average_precision)), ("LWLRAP", number(ranking.lwlrap))]
    tables = [Table(("", "share"), ranks), _averages(counted)]
    if several:
        confused = [(true, named, str(n_clips)) for true, named, n_clips in clips.confused()]
        tables += [Table(("true", "named", "clips"), confused), _clip_label_table(clips)]
    text = (
        f"{clips.n_clips} files, {clips.hours:.3f} h. A clip's score is the sigmoid of the mean over its frames of the "
        "logit of a label's score; accuracy, top 5, mAP and LWLRAP go by it."
    )
    return Section(name.capitalize(), (text,), tables, ("clips_found.png", "confusions.png") if several else ())


def _clip_label_table(clips: ClipMeasures) -> Table:
    return Table(
        ("label", "clips", "named right %", "with an event %", "other clips with an event"),
        [
            [
                label,
                str(counts.n_true),
                percent(float(clips.confusions[place, place]) / counts.n_true),
                percent(counts.recall),
                str(counts.fp),
            ]
            for place, (label, counts) in enumerate(clips.by_event.by_label.items())
            if counts.n_true
        ],
    )


def _quantiles(seconds: Sequence[float]) -> list[str]:
    """Median and 90th percentile."""
    found = [quantile(seconds, percent) for percent in (50, 90)]
    return [number(math.nan if value is None else value) for value in found]


def _ignored(n_extents: int) -> str:
    return (
        f"Ignored: {n_extents} extents in which a label sounds but cannot be heard. Missing it there is no error, and "
        "neither is detecting it."
    )


def _left_out(by_label: Mapping[str, int]) -> str:
    names = ", ".join(f"{label} ({count})" for label, count in by_label.items())
    return f"Left out, because the bundle has no such label: {names}."


def _percents(average: Average) -> list[str]:
    return [percent(value) for value in (average.precision, average.recall, average.f1)]


def _both(as_text: Callable[[float], str], one: float, other: float) -> str:
    return f"{as_text(one)} / {as_text(other)}"
