"""The report's pictures, each a PNG."""

import io
from typing import Any

from matplotlib.figure import Figure

from earmark.benchmark.run import Document
from earmark.benchmark.stages import STAGES

_BLUE, _ORANGE = "#2563a8", "#d97706"


def draw(document: Document) -> dict[str, bytes]:
    """The pictures of what was measured, by file name."""
    pictures: dict[str, bytes] = {}
    if "streams" in document:
        pictures["stages.png"] = _stages(document["streams"]["runs"])
    if "latency" in document:
        pictures["delay.png"] = _delay(document["latency"]["runs"])
    if "step" in document:
        pictures["step.png"] = _step(document["step"]["runs"])
    if document["peers"]:
        pictures["peers.png"] = _peers(document)
    return pictures


def _stages(runs: list[dict[str, Any]]) -> bytes:
    figure, axes = _new()
    names = [str(run["streams"]) for run in runs]
    below = [0.0] * len(runs)
    for stage in STAGES:
        costs_us = [run["stages_us"][stage] for run in runs]
        axes.bar(names, costs_us, bottom=below, label=stage)
        below = [low + cost for low, cost in zip(below, costs_us, strict=True)]
    axes.legend(ncols=4, fontsize=8)
    return _png(figure, axes, "One hop of one stream", "streams", "µs of processor time")


def _delay(runs: list[dict[str, Any]]) -> bytes:
    figure, axes = _new()
    loads = [100 * run["load"] for run in runs]
    for key, colour in (("delay_p50_ms", _BLUE), ("delay_p99_ms", _ORANGE)):
        axes.plot(loads, [run[key] for run in runs], "o-", color=colour, label=key.split("_")[1])
    axes.set_ylim(0)
    axes.legend()
    return _png(figure, axes, "Last sample to subscriber", "% of the streams that a core carries", "ms")


def _step(runs: list[dict[str, Any]]) -> bytes:
    figure, axes = _new()
    for n_hops in sorted({run["hops"] for run in runs}):
        chosen = [run for run in runs if run["hops"] == n_hops]
        costs_us = [run["us_per_stream_hop"]["median"] for run in chosen]
        axes.plot([run["batch"] for run in chosen], costs_us, "o-", label=f"{n_hops} hops a step")
    axes.set_xscale("log", base=2)
    axes.set_ylim(0)
    axes.legend()
    return _png(figure, axes, "The model's step", "rows in the batch", "µs a stream-hop")


def _peers(document: Document) -> bytes:
    figure, axes = _new()
    found = {each["name"]: each["streams_per_core"] for each in document["peers"] if each["streams_per_core"]}
    found["earmark, whole path"] = document["streams"]["streams_per_core"]
    names = list(found)
    axes.barh(names, list(found.values()), color=[*([_BLUE] * (len(names) - 1)), _ORANGE])
    axes.set_xscale("log")
    return _png(figure, axes, "Streams that one core carries", "streams", "")


def _new() -> tuple[Any, Any]:
    """A figure and its axes, whose methods' types matplotlib leaves open."""
    figure: Any = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(b=True)
    return figure, axes


def _png(figure: Any, axes: Any, title: str, x_name: str, y_name: str) -> bytes:
    axes.set_title(title)
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=110, metadata={"Software": None})
    return written.getvalue()
