"""The Grafana dashboard: a panel for every metric of the registry, and what matters most on top.

A metric that is added gets its panel by itself: its kind says how it is drawn, its labels in which row.
"""

from typing import Any, TypeAlias

from earmark.app.metric_families import Family, families, family_of
from earmark.telemetry import metrics

Panel: TypeAlias = dict[str, Any]
Steps: TypeAlias = tuple[tuple[str, float | None], ...]
"""Colours, each from a value on."""

_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_UNITS = {"_seconds": "s", "_ratio": "percentunit"}
_PER_SECOND = ("_samples_total", "_blocks_total")
"""Counters that never stand still; the others are shown per minute."""
_QUANTILES = (0.5, 0.95, 0.99)
_GREEN: Steps = (("green", None),)
_NONE_IS_GOOD: Steps = (*_GREEN, ("red", 1.0))
_FEW_ARE_GOOD: Steps = (*_GREEN, ("orange", 1.0))

_ENGINE = {
    family_of(metric).name
    for metric in (
        metrics.RECEIVED_BLOCKS,
        metrics.RECEIVED_SAMPLES,
        metrics.ANALYSED_SAMPLES,
        metrics.BATCH_SIZE,
        metrics.STEP_SECONDS,
        metrics.COMMIT_SECONDS,
        metrics.DELAY_SECONDS,
        metrics.EVENTS,
        metrics.CHECKPOINTS_REFUSED,
        metrics.OUTBOX_FAILING,
    )
}
_SINKS = ("earmark_clips_", "earmark_history_", "earmark_http_", "earmark_mqtt_", "earmark_sink_")


def dashboard() -> dict[str, Any]:
    """Grafana's JSON model."""
    rows: dict[str, list[Panel]] = {"Service": _overview(), "Streams": [], "Engine": [_delay_heatmap()], "Sinks": []}
    for family in families():
        rows[_row(family)].append(_panel(family))
    return {
        "uid": "earmark",
        "title": "Earmark",
        "tags": ["earmark"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": _place(rows),
    }


def _row(family: Family) -> str:
    if family.name in _ENGINE:
        return "Engine"
    if family.name.startswith(_SINKS):
        return "Sinks"
    return "Streams" if "stream" in family.labels else "Service"


def _variables() -> list[dict[str, Any]]:
    restarts, up, coverage = map(family_of, (metrics.RESTARTS, metrics.STREAM_UP, metrics.COVERAGE))
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _variable("instance", f"label_values({restarts.name}, instance)"),
        _variable("stream", f'label_values({{__name__=~"{up.name}|{coverage.name}"}}, stream)'),
    ]


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _selector(family: Family, suffix: str = "") -> str:
    chosen = ("instance", "stream") if "stream" in family.labels else ("instance",)
    matchers = ", ".join(f'{label}=~"${label}"' for label in chosen)
    return f"{family.name}{suffix}{{{matchers}}}"


# What matters most.


def _overview() -> list[Panel]:
    def total(metric: Any) -> str:
        return f"sum(increase({_selector(family_of(metric))}[$__range])) or vector(0)"

    def gauge(how: str, metric: Any) -> str:
        return f"{how}({_selector(family_of(metric))})"

    return [
        _stat("Streams that deliver audio", gauge("sum", metrics.STREAM_UP)),
        _stat("Lowest coverage", gauge("min", metrics.COVERAGE), "percentunit", (("red", None), ("green", 0.9))),
        _stat("Events", total(metrics.EVENTS)),
        _stat("Gaps", total(metrics.GAPS), steps=_FEW_ARE_GOOD),
        _stat("Outbox takes no commits", gauge("max", metrics.OUTBOX_FAILING), steps=_NONE_IS_GOOD),
        _stat("Furthest behind of the sinks", gauge("max", metrics.SINK_DEPTH)),
        _stat("Events that sinks lost", total(metrics.SINK_LOST), steps=_NONE_IS_GOOD),
        _stat("Restarts", total(metrics.RESTARTS), steps=_FEW_ARE_GOOD),
    ]


def _stat(title: str, expression: str, unit: str = "short", steps: Steps = _GREEN) -> Panel:
    panel = _graph("stat", title, "", {"": expression}, unit, width=3, height=4)
    thresholds = {"mode": "absolute", "steps": [{"color": colour, "value": at} for colour, at in steps]}
    panel["fieldConfig"]["defaults"] |= {"thresholds": thresholds, "decimals": 0}
    panel["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    return panel


def _delay_heatmap() -> Panel:
    family = family_of(metrics.DELAY_SECONDS)
    expression = f"sum by (le) (increase({_selector(family, '_bucket')}[$__rate_interval]))"
    panel = _graph("heatmap", "delay, all events", family.text, {"{{le}}": expression}, "s", width=_WIDTH)
    panel["targets"][0]["format"] = "heatmap"
    panel["options"] = {"calculate": False, "yAxis": {"unit": "s"}, "color": {"scheme": "Blues"}}
    return panel


# One metric.


def _panel(family: Family) -> Panel:
    title = family.name.removeprefix("earmark_").removesuffix("_total").replace("_", " ")
    unit = next((unit for suffix, unit in _UNITS.items() if family.name.endswith(suffix)), "short")
    if family.kind == "counter":
        title += " per second" if family.name.endswith(_PER_SECOND) else " per minute"
    return _graph("timeseries", title, family.text, _expressions(family), unit)


def _expressions(family: Family) -> dict[str, str]:
    """By legend."""
    labels = ("label",) if "label" in family.labels else family.labels
    legend = " ".join(f"{{{{{label}}}}}" for label in labels or ("instance",))
    if family.kind == "gauge":
        return {legend: _selector(family)}
    if family.kind == "histogram":
        rate = f"sum by ({', '.join(('le', *labels))}) (rate({_selector(family, '_bucket')}[$__rate_interval]))"
        own = f"{legend} " if labels else ""
        return {f"{own}p{quantile * 100:.0f}": f"histogram_quantile({quantile}, {rate})" for quantile in _QUANTILES}
    rate = f"sum by ({', '.join(labels or ('instance',))}) (rate({_selector(family)}[$__rate_interval]))"
    return {legend: rate if family.name.endswith(_PER_SECOND) else f"60 * {rate}"}


def _graph(
    kind: str, title: str, text: str, expressions: dict[str, str], unit: str, *, width: int = 8, height: int = 8
) -> Panel:
    return {
        "type": kind,
        "title": title,
        "description": text,
        "datasource": _SOURCE,
        "gridPos": {"w": width, "h": height},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate(expressions.items())
        ],
    }


def _place(rows: dict[str, list[Panel]]) -> list[Panel]:
    """All panels with their numbers and places, each row under its heading."""
    placed: list[Panel] = []
    top = 0
    for title, panels in rows.items():
        heading: Panel = {"type": "row", "title": title, "collapsed": False, "panels": []}
        placed.append({"id": len(placed) + 1, **heading, "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1}})
        left, top, height = 0, top + 1, 0
        for panel in panels:
            size = panel["gridPos"]
            if left + size["w"] > _WIDTH:
                left, top, height = 0, top + height, 0
            placed.append({"id": len(placed) + 1, **panel, "gridPos": {"x": left, "y": top, **size}})
            left, height = left + size["w"], max(height, size["h"])
        top += height
    return placed
