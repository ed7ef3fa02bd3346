"""The report's pictures, each a PNG."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from earmark.evaluation.calibration import Reliability
from earmark.evaluation.psds import Curve

_BLUE, _GREY = "#2563a8", "#9aa3ad"
_ROW_INCHES = 0.19


def draw_bars(values: Mapping[str, float], title: str, unit: str, end: float | None = None) -> bytes:
    """A bar for each label, largest on top; those that are NaN are left out."""
    known = {label: value for label, value in values.items() if np.isfinite(value)}
    ordered = sorted(known, key=lambda label: (known[label], label))
    figure, axes = _new(7, 1.1 + _ROW_INCHES * max(4, len(ordered)))
    axes.barh(ordered, [known[label] for label in ordered], color=_BLUE)
    axes.margins(y=0.01)
    axes.set_xlim(0, end)
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(axis="x", alpha=0.3)
    return _png(figure, axes, title, unit, "")


def draw_curves(curves: Mapping[str, Curve], end: float) -> bytes:
    """PSD-ROC curves up to ``end`` false detections an hour."""
    figure, axes = _new(7, 4)
    for name, curve in curves.items():
        shares = [0.0, *curve.tp_share.tolist()]
        axes.step([0.0, *curve.fp_per_hour.tolist(), end], [*shares, shares[-1]], where="post", label=name)
    axes.set_xlim(0, end)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend()
    return _png(figure, axes, "PSD-ROC", "effective false detections an hour", "effective share found")


@dataclass(frozen=True)
class TradeOff:
    """What a detector finds against what it costs, over thresholds, and the settings that are in use.

    Attributes:
        curve: Cost and share found, at each threshold.
        settings: The same of each setting, by name.
    """

    curve: Sequence[tuple[float, float]]
    settings: Mapping[str, tuple[float, float]]


def draw_trade_offs(trade_offs: Mapping[str, TradeOff], title: str, unit: str, least: float) -> bytes:
    """A curve for each detector over a logarithmic cost, with a mark for each setting.

    Args:
        trade_offs: By detector.
        title: Of the picture.
        unit: Of the cost.
        least: Where the axis begins; what costs less, or nothing, is drawn there.
    """
    figure, axes = _new(7, 4.5)
    for place, (name, trade_off) in enumerate(trade_offs.items()):
        colour = f"C{place}"
        costs, shares = np.array(trade_off.curve, float).reshape(-1, 2).T
        axes.plot(np.maximum(costs, least), shares, color=colour, label=name)
        for setting, (cost, share) in trade_off.settings.items():
            axes.plot(max(cost, least), share, "o", color=colour)
            above_left = {"xytext": (-5, 5), "textcoords": "offset points", "ha": "right"}  # curves rise to the right
            axes.annotate(setting, (max(cost, least), share), fontsize=8, **above_left)
    axes.set_xscale("log")
    axes.set_xlim(left=least)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower right")
    return _png(figure, axes, title, unit, "share of named sounds found")


def draw_reliability(reliability: Reliability, what: str = "frames") -> bytes:
    """How often scores, of ``what``, were right, and how many there are, logarithmic."""
    figure, axes = _new(7, 4)
    width = 1 / len(reliability.counts)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--")
    axes.bar(
        reliability.edges[:-1], np.nan_to_num(reliability.true_share), width, align="edge", color=_BLUE, edgecolor="w"
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    beside = axes.twinx()
    beside.plot(reliability.edges[:-1] + width / 2, reliability.counts, "o", color=_GREY)
    beside.set_yscale("symlog")
    beside.set_ylabel(f"{what} (dots)")
    return _png(figure, axes, "Reliability", "score", f"share of {what} that are true (bars)")


def draw_delays(decisions_s: Sequence[float]) -> bytes:
    """How long after the true onsets events were told of; the ends hold what lies beyond."""
    figure, axes = _new(7, 3.5)
    axes.hist(np.clip(decisions_s, -1, 4), bins=np.linspace(-1, 4, 51).tolist(), color=_BLUE)
    axes.axvline(0, color=_GREY, linestyle="--")
    axes.grid(axis="y", alpha=0.3)
    return _png(figure, axes, "Delay", "decision less true onset, s (-1 and less, 4 and more at the ends)", "events")


def draw_confusions(counts: NDArray[np.int64], labels: Sequence[str]) -> bytes:
    """Share of each true class's clips that each class scored highest in; classes without clips are left out."""
    shown = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1))
    shares = counts[np.ix_(shown, shown)] / np.maximum(1, counts[shown].sum(axis=1))[:, None]
    names = [labels[place] for place in shown.tolist()]
    side = 2 + _ROW_INCHES * max(10, len(names))
    figure, axes = _new(side, side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(names))
    axes.set_xticks(places, names, rotation=90, fontsize=7)
    axes.set_yticks(places, names, fontsize=7)
    return _png(figure, axes, "Confusions", "named", "true")


def _new(width: float, height: float) -> tuple[Any, Any]:
    """A figure and its axes, whose methods' types matplotlib leaves open."""
    figure: Any = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _png(figure: Any, axes: Any, title: str, x_name: str, y_name: str) -> bytes:
    axes.set_title(title)
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=110, metadata={"Software": None})
    return written.getvalue()
