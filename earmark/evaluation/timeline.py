"""What a long recording holds: its classes in figures, and a picture of spectrogram, level and events over time."""

# matplotlib's keyword arguments have no types
# pyright: reportUnknownMemberType=false

import base64
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from jinja2 import Environment
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MultipleLocator, NullLocator
from numpy.typing import NDArray

from earmark.contracts.events import SoundEvent
from earmark.evaluation.overview import Overview

PictureKind: TypeAlias = Literal["png", "svg", "html"]

_PARTS_S = (3600.0, 600.0, 60.0, 10.0)
_LEAST_PARTS = 3


@dataclass(frozen=True)
class Recording:
    """A recording and all that was heard in it.

    Attributes:
        name: What the picture calls it.
        duration_s: Seconds analysed.
        events: Its ended events; those of one class do not overlap.
        overview: Its spectrogram and level.
        labels: The classes to tell of, heard or not; None for all that were heard.
        ended_early: Why it could not be read to its end.
    """

    name: str
    duration_s: float
    events: Sequence[SoundEvent]
    overview: Overview
    labels: Sequence[str] | None = None
    ended_early: str | None = None


@dataclass(frozen=True)
class ClassSummary:
    """One class over a whole recording.

    Attributes:
        label: The class.
        n_events: How many events there were.
        total_s: Their seconds together.
        share: ``total_s`` as a share of the recording, 0 to 1.
        longest_s: The longest one.
        first_onset_s: Where the first one began; None without events, as all that follows.
        busiest_from_s: Begin of the part of the recording (see `part_length_s`) that holds most of its seconds.
        busiest_s: Its seconds in that part.
        loudest_db: Level of its loudest event, dBFS; None where all are digital silence, too.
        score_peak: Its highest score.
    """

    label: str
    n_events: int
    total_s: float
    share: float
    longest_s: float
    first_onset_s: float | None = None
    busiest_from_s: float | None = None
    busiest_s: float | None = None
    loudest_db: float | None = None
    score_peak: float | None = None


def part_length_s(duration_s: float) -> float:
    """How long a recording's parts are: an hour, less where there would not be three, 10 s at least."""
    return next((part_s for part_s in _PARTS_S if duration_s >= _LEAST_PARTS * part_s), _PARTS_S[-1])


def summarise(recording: Recording) -> list[ClassSummary]:
    """The figures of each class, most seconds first; of those that were heard, or of all ``recording.labels``."""
    by_label: dict[str, list[SoundEvent]] = {label: [] for label in recording.labels or ()}
    for event in recording.events:
        if recording.labels is None or event.label in by_label:
            by_label.setdefault(event.label, []).append(event)
    classes = [_summarise(label, events, recording.duration_s) for label, events in by_label.items()]
    return sorted(classes, key=lambda one: (-one.total_s, one.label))


def _summarise(label: str, events: Sequence[SoundEvent], duration_s: float) -> ClassSummary:
    if not events:
        return ClassSummary(label, 0, 0.0, 0.0, 0.0)
    extents_s = _extents_s(events)
    lengths_s = extents_s[:, 1] - extents_s[:, 0]
    total_s = float(lengths_s.sum())
    busiest_from_s, busiest_s = _busiest(extents_s, part_length_s(duration_s))
    return ClassSummary(
        label,
        n_events=len(events),
        total_s=total_s,
        share=total_s / duration_s,
        longest_s=float(lengths_s.max()),
        first_onset_s=float(extents_s[:, 0].min()),
        busiest_from_s=busiest_from_s,
        busiest_s=busiest_s,
        loudest_db=max((event.level_db for event in events if event.level_db is not None), default=None),
        score_peak=max(event.score_peak for event in events),
    )


def _extents_s(events: Sequence[SoundEvent]) -> NDArray[np.float64]:
    """``[n, 2]``: onset and offset of each, seconds."""
    ended = ((event, event.offset_sample) for event in events if event.offset_sample is not None)
    return np.array(
        [(event.onset_sample / event.sample_rate_hz, end / event.sample_rate_hz) for event, end in ended]
    ).reshape(-1, 2)


def _busiest(extents_s: NDArray[np.float64], part_s: float) -> tuple[float, float]:
    """Begin of the part with most seconds, the first of several, and how many those are."""
    begins_s = np.arange(0, extents_s.max(), part_s)
    inside_s = np.array(
        [(np.minimum(extents_s[:, 1], at + part_s) - np.maximum(extents_s[:, 0], at)).clip(0).sum() for at in begins_s]
    )
    most = int(inside_s.argmax())
    return float(begins_s[most]), float(inside_s[most])


COLUMNS = ("class", "events", "total", "share", "longest", "first", "busiest part", "loudest", "peak score")


def cells(one: ClassSummary, part_s: float) -> tuple[str, ...]:
    """A class as a row for people, a cell for each of `COLUMNS`."""
    figures = (str(one.n_events), span_text(one.total_s), f"{one.share:.1%}")
    if one.first_onset_s is None or one.busiest_from_s is None or one.busiest_s is None or one.score_peak is None:
        return (one.label, *figures, *("-" * (len(COLUMNS) - 4)))
    part = f"{span_text(one.busiest_s)} in {clock_text(one.busiest_from_s)}-{clock_text(one.busiest_from_s + part_s)}"
    loudest = "-" if one.loudest_db is None else f"{one.loudest_db:.1f} dBFS"
    first = span_text(one.first_onset_s)
    return (one.label, *figures, span_text(one.longest_s), first, part, loudest, f"{one.score_peak:.2f}")


def span_text(seconds: float) -> str:
    """``12.3 s``, from a minute on ``0:02:05``."""
    return f"{seconds:.1f} s" if round(seconds, 1) < 60 else clock_text(seconds)


def clock_text(seconds: float) -> str:
    """``1:02:05``, hours first."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def render(recording: Recording, kind: PictureKind) -> bytes:
    """The picture as a file's content; ``html`` is a page that needs no other file, with the table too."""
    if kind == "html":
        return _page(recording)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a file's name may be in a script that the font lacks
        draw(recording).savefig(content, format=kind)
    return content.getvalue()


_PAGE = Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ name }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1400px; margin: 2em auto; padding: 0 1em; color: #222 }
img { width: 100% }
table { border-collapse: collapse }
th, td { padding: .2em .9em; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
</style></head><body>
<h1>{{ name }}</h1>
<p>{{ length }} analysed.{% if ended_early %} <strong>It ended early: {{ ended_early }}</strong>{% endif %}</p>
<img alt="Spectrogram, level and events over time" src="data:image/png;base64,{{ picture }}">
<table><thead><tr>{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% else %}<tr><td colspan="{{ columns | length }}">nothing heard</td></tr>
{% endfor %}</tbody></table>
</body></html>
""")


def _page(recording: Recording) -> bytes:
    part_s = part_length_s(recording.duration_s)
    text = _PAGE.render(
        name=_printable(recording.name),
        length=span_text(recording.duration_s),
        ended_early=_printable(recording.ended_early or ""),
        picture=base64.b64encode(render(recording, "png")).decode(),
        columns=COLUMNS,
        rows=[cells(one, part_s) for one in summarise(recording)],
    )
    return text.encode()


def _printable(text: str) -> str:
    """A file's name may hold what no font and no encoding knows."""
    return "".join(character if character.isprintable() else "?" for character in text)


_WIDTH_IN, _DPI = 14.0, 120
_SPECTROGRAM_IN, _LEVEL_IN, _LANE_IN, _REST_IN = 3.0, 0.9, 0.27, 1.0
_BAR_HEIGHT = 0.7
_RANGE_DB = 80.0
_LEAST_RANGE_DB = 20.0
_QUIET_PERCENT = 2.0
_SCALE_ASPECT = 18.0
_SCORE_COLOURS = LinearSegmentedColormap.from_list("score", ["#a8dcb5", "#41b6c4", "#225ea8", "#081d58"])
_LANE_COLOURS = ("#f1f2f4", "#fafafb")
_LEVEL_COLOURS = ("#c3c9d3", "#2f3e55")
_HZ_TICKS = (125, 500, 1000, 2000, 4000, 8000, 16_000)
_TIME_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_MOST_TICKS = 13


def draw(recording: Recording) -> Figure:
    """The picture: spectrogram above, level, and below a lane for each class, most seconds first.

    Spectrogram and loudest level are the most within each column of the picture, so that a short sound in a long
    recording can be seen; a short event is drawn a little wider than it is.
    """
    classes = summarise(recording)
    lanes_in = _LANE_IN * max(2, len(classes))
    heights_in = (_SPECTROGRAM_IN, _LEVEL_IN, lanes_in)
    figure = Figure(figsize=(_WIDTH_IN, sum(heights_in) + _REST_IN), dpi=_DPI, layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(90, 1), height_ratios=heights_in)
    top = figure.add_subplot(grid[0, 0])
    level = figure.add_subplot(grid[1, 0], sharex=top)
    lanes = figure.add_subplot(grid[2, 0], sharex=top)
    picture = _draw_spectrogram(top, recording.overview)
    figure.colorbar(picture, cax=figure.add_subplot(grid[0, 1]), label="dB below the loudest")
    _draw_level(level, recording.overview)
    bars = _draw_lanes(lanes, recording, classes)
    scale = figure.add_subplot(grid[2, 1], anchor="N")
    figure.colorbar(bars, cax=scale, label="peak score", ticks=[0, 0.5, 1])
    if lanes_in > _SPECTROGRAM_IN:
        scale.set_box_aspect(_SCALE_ASPECT)
    for axes in (top, level):
        axes.tick_params(labelbottom=False)
    _mark_time(lanes, recording.duration_s)
    top.set_title(_title(recording), loc="left", parse_math=False)
    return figure


def _title(recording: Recording) -> str:
    early = ", ended early" if recording.ended_early else ""
    return f"{_printable(recording.name)}   ({span_text(recording.duration_s)}{early})"


def _draw_spectrogram(axes: Axes, overview: Overview) -> Any:
    silence_db = 10 * np.log10(overview.spec.log_offset)
    mel_db = overview.mel_db if overview.n_columns else np.full((1, overview.spec.n_mels), silence_db)
    mel_db = mel_db - max(mel_db.max(), silence_db + _LEAST_RANGE_DB)
    n_columns, n_bands = mel_db.shape
    darkest_db = float(np.percentile(mel_db, _QUIET_PERCENT))
    picture = axes.imshow(
        mel_db.T,
        aspect="auto",
        origin="lower",
        extent=(0, n_columns * overview.column_s, -0.5, n_bands - 0.5),
        cmap="magma",
        vmin=min(-_LEAST_RANGE_DB, max(-_RANGE_DB, darkest_db)),
        vmax=0,
    )
    known = np.flatnonzero(np.isfinite(overview.band_hz))
    band_hz = overview.band_hz[known]
    ticks = [hz for hz in _HZ_TICKS if band_hz[0] <= hz <= overview.spec.fmax_hz]
    axes.yaxis.set_major_locator(FixedLocator([float(np.interp(hz, band_hz, known)) for hz in ticks]))
    axes.set_yticklabels([f"{hz // 1000} k" if hz >= 1000 else str(hz) for hz in ticks])
    axes.set_ylabel("Hz (mel)")
    return picture


def _draw_level(axes: Axes, overview: Overview) -> None:
    edges_s = np.arange(overview.n_columns + 1) * overview.column_s
    curves = (overview.peak_level_db, overview.mean_level_db)
    for curve, colour, name in zip(curves, _LEVEL_COLOURS, ("loudest", "mean"), strict=True):
        axes.stairs(curve, edges_s, baseline=None, color=colour, linewidth=1.0, label=name)
    heard = np.concatenate(curves)
    heard = heard[np.isfinite(heard)]
    lowest_db = max(-100.0, float(heard.min())) - 3 if len(heard) else -100.0
    axes.set_ylim(lowest_db, max(lowest_db + _LEAST_RANGE_DB, float(heard.max(initial=lowest_db)) + 3))
    axes.set_ylabel("dBFS")
    axes.grid(visible=True, color="#e3e5e9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 0.95),
        ncols=2,
        frameon=False,
        fontsize="small",
        handlelength=1,
        borderpad=0,
    )


def _draw_lanes(axes: Axes, recording: Recording, classes: Sequence[ClassSummary]) -> Any:
    corners: list[NDArray[np.float64]] = []
    scores: list[float] = []
    for lane, one in enumerate(classes):
        axes.axhspan(lane - 0.5, lane + 0.5, color=_LANE_COLOURS[lane % 2], zorder=0, linewidth=0)
        events = sorted(
            (event for event in recording.events if event.label == one.label), key=lambda event: event.score_peak
        )
        scores += [event.score_peak for event in events]
        low, high = lane - _BAR_HEIGHT / 2, lane + _BAR_HEIGHT / 2
        corners += [
            np.array([(onset, low), (onset, high), (offset, high), (offset, low)])
            for onset, offset in _extents_s(events)
        ]
    bars = PolyCollection(
        corners, array=np.array(scores), cmap=_SCORE_COLOURS, norm=Normalize(0, 1), edgecolors="face", linewidths=0.5
    )
    axes.add_collection(bars, autolim=False)
    axes.set_ylim(max(2, len(classes)) - 0.5, -0.5)
    names = [f"{_printable(one.label)}  {span_text(one.total_s)}" for one in classes]
    axes.set_yticks(range(len(classes)), labels=names, parse_math=False)
    axes.tick_params(axis="y", length=0)
    if not classes:
        axes.text(0.5, 0.5, "nothing heard", ha="center", va="center", transform=axes.transAxes, color="#777")
    return bars


def _mark_time(axes: Axes, duration_s: float) -> None:
    def text(at_s: float, _place: int) -> str:
        return _tick_text(at_s, duration_s)

    step_s = next((step for step in _TIME_STEPS_S if duration_s <= step * _MOST_TICKS), duration_s / _MOST_TICKS)
    axes.set_xlim(0, duration_s)
    axes.xaxis.set_major_locator(MultipleLocator(step_s))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(text))
    axes.set_xlabel("h:mm" if duration_s >= 3600 else "min:s" if duration_s >= 60 else "s")


def _tick_text(at_s: float, duration_s: float) -> str:
    if duration_s < 60:
        return f"{at_s:g}"
    unit_s = 60 if duration_s >= 3600 else 1
    whole, rest = divmod(round(at_s / unit_s), 60)
    return f"{whole}:{rest:02}"
