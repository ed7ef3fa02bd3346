"""What was measured, as Markdown: for the screen, and with pictures as a report in a folder."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earmark.benchmark.realtime import BOUND_MS
from earmark.benchmark.run import Document
from earmark.benchmark.stages import STAGES
from earmark.benchmark.tables import Table, markdown

_NONE = "–"  # noqa: RUF001 -- a dash for what there is none of


@dataclass(frozen=True)
class Section:
    """A part of the report: what its figures are, the figures, and the pictures' file names."""

    title: str
    text: str
    tables: Sequence[Table]
    pictures: Sequence[str] = ()


def write_report(out: Path, document: Document, pictures: Mapping[str, bytes]) -> None:
    """Write ``report.md``, ``figures.json`` and the pictures into the folder ``out``."""
    for name, png in pictures.items():
        (out / name).write_bytes(png)
    (out / "figures.json").write_text(to_json(document), "utf-8")
    (out / "report.md").write_text(to_markdown(document, pictures), "utf-8")


def to_json(document: Document) -> str:
    """For programs."""
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def to_markdown(document: Document, pictures: Iterable[str] = ()) -> str:
    """For people; of the pictures, those that are named."""
    machine = document["machine"]
    about = (
        f"Bundle `{document['bundle']}`, by `{document['command']}` on one core of {machine['processor']} "
        f"({machine['cores']} cores, load {machine['load_average']} at the end); Python {machine['python']}, "
        f"numpy {machine['numpy']}, ONNX Runtime {machine['onnxruntime']}."
    )
    lines = ["# Speed, measured", "", about]
    if document["quick"]:
        lines += ["", "**Quick: hardly anything was repeated. These figures mean little.**"]
    for section in _sections(document):
        lines += ["", f"## {section.title}", "", section.text]
        for table in section.tables:
            lines += ["", markdown(table)]
        lines += [f"\n![{name}]({name})" for name in section.pictures if name in pictures]
    return "\n".join(lines) + "\n"


def _sections(document: Document) -> Iterable[Section]:
    if "streams" in document:
        yield _streams(document)
        if "real_time" in document["streams"]:
            yield _real_time(document["streams"]["real_time"])
    makers = {"latency": _latency, "step": _step, "memory": _memory, "gpu": _gpu}
    yield from (make(document[part]) for part, make in makers.items() if part in document)
    if document["peers"]:
        yield _peers(document)


def _streams(document: Document) -> Section:
    streams = document["streams"]
    text = (
        f"Processor time of one core, messages in to commits out, without sockets; {streams['audio']}. "
        f"A stream's hop is {document['hop_ms']:g} ms; the core's fp32 GEMM peak in this run "
        f"{streams['gemm_peak_gflops']:g} GFLOP/s."
    )
    first, last = streams["growth_from_to"]
    limit = "≥ 850 at a 20 ms hop, ≥ 1,200 at 40 ms"
    headlines = [
        ("streams a core", f"{streams['streams_per_core']:g}", ""),
        ("scaled to 42 MFLOP a second of audio", _cell(streams["scaled_to_42_mflop"]), limit),
        ("share of the GEMM peak", _percent(streams["share_of_gemm_peak"]), "≥ 22 %"),
        (f"outside the model step, at {streams['at_streams']}", _percent(streams["outside_model"]), "≤ 25 %"),
    ]
    if streams["growth"] is not None:
        headlines.append((f"growth of the cost, {first} to {last}", _percent(streams["growth"]), "≤ 15 %"))
    rows = [
        (
            run["streams"],
            _spread(run["us_per_stream_hop"]),
            *(f"{run['stages_us'][stage]:.2f}" for stage in STAGES),
            _percent(run["outside_model"]),
            _spread(run["streams_per_core"]),
        )
        for run in streams["runs"]
    ]
    budget = Table(("streams", "µs a stream-hop", *STAGES, "outside the model", "streams a core"), rows)
    summary = Table(("what", "measured", "limit"), headlines)
    return Section("Streams a core", text, (summary, budget), ("stages.png",))


def _real_time(real_time: dict[str, Any]) -> Section:
    text = (
        f"The engine's process on one core, jittered blocks over TCP from another, streams that leave and join. "
        f"Most that were carried: **{real_time['streams_per_core']}**. Carried is: all that was sent was analysed, and "
        f"99 % of the delays, last sample due to decision committed, are within {BOUND_MS:g} ms."
    )
    rows = [
        (
            trial["streams"],
            "yes" if trial["carried"] else "no",
            f"{trial['coverage']:.4f}",
            f"{trial['samples_sent']:,}",
            f"{trial['samples_shed']:,}",
            _cell(trial["delay_p50_ms"]),
            _cell(trial["delay_p99_ms"]),
            _percent(trial["engine_busy"]),
            _percent(trial["generator_busy"]),
            _cell(trial["sent_late_p99_ms"]),
        )
        for trial in sorted(real_time["trials"], key=lambda trial: trial["streams"])
    ]
    header = (
        "streams",
        "carried",
        "coverage",
        "samples sent",
        "shed",
        "p50 ms",
        "p99 ms",
        "engine busy",
        "load busy",
        "late p99 ms",
    )
    return Section("Streams in real time", text, (Table(header, rows),))


def _latency(latency: dict[str, Any]) -> Section:
    text = (
        "From the last sample that an event needs, handed to a streamer, to a subscriber in another process; and of "
        "it, from its arrival at the engine to the decision. What the algorithm waits for is not counted. "
        "The limit at half load is 2 ms for p50 and 10 ms for p99."
    )
    keys = ("streams", "events", "events_expected", "delay_p50_ms", "delay_p99_ms", "engine_p50_ms", "engine_p99_ms")
    rows = [(_percent(run["load"]), *(_cell(run[key]) for key in keys)) for run in latency["runs"]]
    header = ("load", "streams", "events", "of", "p50 ms", "p99 ms", "engine p50 ms", "engine p99 ms")
    return Section("Delay", text, (Table(header, rows),), ("delay.png",))


def _step(step: dict[str, Any]) -> Section:
    text = (
        "The runtime alone: features, the network, the states' way in and out. FLOP are the network's. "
        f"GEMM peak {step['gemm_peak_gflops']:g} GFLOP/s."
    )
    rows = [
        (
            run["batch"],
            run["hops"],
            _spread(run["us_per_stream_hop"]),
            _cell(run["gflops"]),
            _percent(run["share_of_gemm_peak"]),
        )
        for run in step["runs"]
    ]
    header = ("batch", "hops a step", "µs a stream-hop", "GFLOP/s", "share of the peak")
    return Section("The model's step", text, (Table(header, rows),), ("step.png",))


def _memory(memory: dict[str, Any]) -> Section:
    state = memory["state_bytes_a_row"]
    text = (
        f"A row of the state bank has {state:,} bytes ({state / 1024:.1f} KiB; the limit is 24 KiB), and "
        f"{memory['tail_bytes_a_row']:,} of audio that its next frame sees too. The engine's process grows by "
        f"{memory['resident_kib_a_stream']:g} KiB a stream."
    )
    rows = [(run["streams"], f"{run['resident_mb']:.1f}") for run in memory["runs"]]
    return Section("Memory", text, (Table(("streams", "resident MiB"), rows),))


def _gpu(gpu: dict[str, Any]) -> Section:
    if not gpu["measured"]:
        return Section("GPU", f"Not measured: {gpu['reason']}", ())
    text = "One output hop a step: audio goes to the GPU, scores come back. The difference is to ONNX Runtime's scores."
    keys = ("precision", "rows", "largest_difference", "step_p50_ms", "step_p95_ms", "real_time_rows")
    header = (*keys, "state_moved_gb_per_s")
    rows = [tuple(_cell(run[key]) for key in header) for run in gpu["runs"]]
    return Section("GPU", text, (Table([name.replace("_", " ") for name in header], rows),))


def _peers(document: Document) -> Section:
    ours = document["streams"]["streams_per_core"]
    text = (
        "What others need on the same core in the same run, one thread, fed from arrays; ours is the whole path by "
        "processor time."
    )
    rows = [("**earmark, whole path**", f"{document['hop_ms']:g}", f"{ours:g}", "", "")]
    for peer in document["peers"]:
        per_core = peer["streams_per_core"]
        name, hop = peer["name"], f"{peer['hop_ms']:g}"
        if per_core is None:
            rows.append((name, hop, _NONE, _NONE, f"absent: {peer['absent']}"))
        else:
            rows.append((name, hop, f"{per_core:g}", f"{ours / per_core:.1f}", _spread(peer["us_per_stream_hop"])))
    header = ("what", "hop ms", "streams a core", "ours are times as many", "µs a stream-hop")
    return Section("Peers", text, (Table(header, rows),), ("peers.png",))


def _spread(found: Mapping[str, float]) -> str:
    return f"{found['median']:g} ({found['min']:g} to {found['max']:g})"


def _percent(share: float | None) -> str:
    return _NONE if share is None else f"{100 * share:.1f} %"


def _cell(value: object) -> str:
    return _NONE if value is None else f"{value:g}" if isinstance(value, float) else str(value)
