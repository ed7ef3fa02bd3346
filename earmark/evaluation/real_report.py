"""Real recordings in the report: the bundle beside its peers, by kind, by class and by recording."""

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from earmark.evaluation.plots import TradeOff, draw_reliability, draw_trade_offs
from earmark.evaluation.real import Detections, RealCounts, RealMeasures, RecordingMeasures
from earmark.evaluation.real_comparison import RealComparison, RealDetector
from earmark.evaluation.sections import Section, Table, number, percent

_TIME_PICTURE, _EVENTS_PICTURE = "real_wrong_time.png", "real_wrong_events.png"
_RELIABILITY_PICTURE = "real_reliability.png"
_TSV_COLUMNS = (
    "detector", "filename", "kind", "seconds", "expected", "found", "right", "wrong_events", "wrong_seconds", "wrong",
    "unjudged",
)  # fmt: skip
_RULES = (
    "Each recording may name one class that must be found. It is found if an event of that class is detected in it at "
    "any time. Events of classes that the list neither expects nor allows there are wrong. Time is wrong while at "
    "least one wrong event is on; events that overlap count once."
)
_CURVES = (
    "The curves use one onset threshold for all classes. The bundle is smoothed as its classes without a setting of "
    "their own are, with the same ratio of offset to onset threshold; marks are what it ships, with its settings for "
    "each class. Peers have no smoothing: an event is a run of windows at or above the threshold."
)


def real_headlines(real: RealComparison) -> list[tuple[str, str]]:
    """The figures to look at first: a line for each detector."""
    total = real.ours.total
    size = f"{len(real.ours.recordings)} files, {total.duration_s / 3600:.2f} h, {total.asked} named sounds"
    return [("real recordings", size), *((detector.name, _in_words(detector)) for detector in real.detectors)]


def draw_real(real: RealComparison) -> dict[str, bytes]:
    """The trade-off between what is found and what is wrong, by file name."""
    return {
        _TIME_PICTURE: draw_trade_offs(
            _trade_offs(real, lambda counts: 100 * counts.wrong_share),
            "Real recordings: found against time wrong",
            "% of the time wrong",
            0.01,
        ),
        _EVENTS_PICTURE: draw_trade_offs(
            _trade_offs(real, lambda counts: counts.wrong_per_hour),
            "Real recordings: found against wrong events",
            "wrong events an hour",
            0.5,
        ),
        _RELIABILITY_PICTURE: draw_reliability(real.reliability, "peaks"),
    }


def real_sections(real: RealComparison) -> Iterable[Section]:
    """The report's parts on real recordings."""
    yield Section(
        "Real recordings",
        (_RULES, *_left_out(real), _CURVES),
        (_headline_table(real),),
        (_TIME_PICTURE, _EVENTS_PICTURE),
    )
    yield Section("Real recordings by kind", (), tuple(_kind_tables(real)))
    text = (
        "Nobody marked times, so what is judged is the highest score of each class in each recording: the share of "
        "these peaks whose class is expected there. Allowed classes are left out. Expected calibration error: "
        f"{number(real.reliability.expected_error, 4)}."
    )
    yield Section("Calibration on real recordings", (text,), pictures=(_RELIABILITY_PICTURE,))
    text = "Sounds found of sounds asked for, and wrong events with the seconds that they cover."
    yield Section("Real recordings by class", (text,), (_label_table(real),))
    yield Section("Real recordings one by one", (_one_by_one(real),), (_recording_table(real.ours),))
    if any(detector.measures.unjudged for detector in real.detectors):
        text = (
            "The list was made without these classes in mind, so it cannot say whether they are right: events and "
            "seconds in each kind of recording. They are not counted as wrong."
        )
        yield Section("Classes that the list cannot judge", (text,), (_unjudged_table(real),))


def write_real_tsv(path: Path, real: RealComparison) -> None:
    """Write a row for each detector and recording, tab-separated. Replaces the file.

    ``found`` is 1 or 0, and empty where nothing is expected; ``right``, ``wrong`` and ``unjudged`` are classes with
    spaces between.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(_TSV_COLUMNS)
        for detector in real.detectors:
            writer.writerows(_tsv_row(detector.name, one) for one in detector.measures.recordings)


def _tsv_row(detector: str, one: RecordingMeasures) -> list[str]:
    recording, counts = one.recording, one.counts
    return [
        detector,
        recording.file,
        recording.kind,
        f"{counts.duration_s:.3f}",
        recording.expected,
        str(counts.found) if counts.asked else "",
        " ".join(one.right),
        str(counts.wrong.n_events),
        f"{counts.wrong.seconds:.3f}",
        " ".join(one.wrong),
        " ".join(one.unjudged),
    ]


def _in_words(detector: RealDetector) -> str:
    counts = detector.measures.total
    return (
        f"{percent(counts.found_share)} % found, {number(counts.wrong_per_hour, 1)} wrong events/h, "
        f"{_time(counts)} % of the time"
    )


def _time(counts: RealCounts) -> str:
    """Shares of time are small for good detectors, so they have a decimal more."""
    return number(100 * counts.wrong_share, 2)


def _trade_offs(real: RealComparison, cost: Callable[[RealCounts], float]) -> dict[str, TradeOff]:
    return {
        system: TradeOff(
            [(cost(point.counts), point.counts.found_share) for point in curve],
            {
                detector.name: (cost(detector.measures.total), detector.measures.total.found_share)
                for detector in real.detectors
                if detector.system == system
            },
        )
        for system, curve in real.curves.items()
    }


def _headline_table(real: RealComparison) -> Table:
    rows = [
        [
            detector.name,
            f"{counts.found} of {counts.asked}",
            percent(counts.found_share),
            str(counts.wrong.n_events),
            number(counts.wrong_per_hour, 1),
            _time(counts),
        ]
        for detector in real.detectors
        for counts in [detector.measures.total]
    ]
    return Table(("", "named sounds found", "%", "wrong events", "an hour", "time wrong %"), rows)


def _kind_tables(real: RealComparison) -> Iterable[Table]:
    shown: Mapping[str, Callable[[RealCounts], str]] = {
        "named sounds found %": lambda counts: percent(counts.found_share),
        "wrong events an hour": lambda counts: number(counts.wrong_per_hour, 1),
        "time wrong %": _time,
    }
    by_kind = [detector.measures.by_kind for detector in real.detectors]
    for title, as_text in shown.items():
        rows = [
            [kind, f"{counts.duration_s / 60:.0f}", *(as_text(of_one[kind]) for of_one in by_kind)]
            for kind, counts in by_kind[0].items()
        ]
        yield Table((title, "minutes", *(detector.name for detector in real.detectors)), rows)


def _label_table(real: RealComparison) -> Table:
    by_label = [detector.measures.by_label for detector in real.detectors]
    labels = sorted({label for of_one in by_label for label in of_one})
    rows = [
        [label, *(_label_cell(of_one.get(label)) for of_one in by_label)]
        for label in labels
        if any(of_one[label].asked or of_one[label].wrong.n_events for of_one in by_label if label in of_one)
    ]
    return Table(("class", *(detector.name for detector in real.detectors)), rows)


def _label_cell(counts: RealCounts | None) -> str:
    if counts is None:
        return "no such class"
    found = [f"{counts.found} of {counts.asked}"] if counts.asked else []
    wrong = [f"{_detections(counts.wrong)} wrong"] if counts.wrong.n_events else []
    return ", ".join([*found, *wrong]) or "–"  # noqa: RUF001 -- a dash for what there is none of


def _one_by_one(real: RealComparison) -> str:
    n_faulty, n_all = sum(_is_faulty(one) for one in real.ours.recordings), len(real.ours.recordings)
    return (
        f"What {real.detectors[0].name} gets wrong or misses, in {n_faulty} of {n_all} recordings; the longest "
        "wrong comes first. The file real.tsv has all recordings and detectors."
    )


def _recording_table(measures: RealMeasures) -> Table:
    faulty = sorted(
        (one for one in measures.recordings if _is_faulty(one)),
        key=lambda one: (-one.counts.wrong.seconds, one.counts.found - one.counts.asked, one.recording.file),
    )
    rows = [
        [
            one.recording.file,
            one.recording.kind,
            one.recording.title,
            number(one.counts.duration_s, 1),
            number(one.counts.wrong.seconds, 1),
            ", ".join(f"{label} {_detections(some)}" for label, some in _longest_first(one.wrong)),
            one.recording.expected if one.counts.asked > one.counts.found else "",
        ]
        for one in faulty
    ]
    return Table(("recording", "kind", "title", "s", "wrong s", "wrong classes", "missed"), rows)


def _is_faulty(one: RecordingMeasures) -> bool:
    return one.counts.wrong.n_events > 0 or one.counts.found < one.counts.asked


def _unjudged_table(real: RealComparison) -> Table:
    kinds = tuple(real.ours.by_kind)
    rows = [
        [f"{label}, {detector.name}", *(_detections(by_kind.get(kind, Detections())) for kind in kinds)]
        for detector in real.detectors
        for label, by_kind in detector.measures.unjudged.items()
    ]
    return Table(("", *kinds), rows)


def _longest_first(wrong: Mapping[str, Detections]) -> list[tuple[str, Detections]]:
    return sorted(wrong.items(), key=lambda item: -item[1].seconds)


def _detections(some: Detections) -> str:
    return f"{some.n_events} ({number(some.seconds, 1)} s)" if some.n_events else "0"


def _left_out(real: RealComparison) -> list[str]:
    return [
        f"{detector.name} lacks classes that recordings ask for, which do not count as asked: "
        + ", ".join(f"{label} ({count})" for label, count in detector.measures.left_out.items())
        + "."
        for detector in real.detectors
        if detector.measures.left_out
    ]
