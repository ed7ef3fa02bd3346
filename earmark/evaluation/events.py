"""Detected events against true ones: counts within collars, delays, and false alarms.

Counts follow A. Mesaros, T. Heittola, T. Virtanen, "Metrics for polyphonic sound event detection", Applied Sciences
6(6), 2016, with a largest matching of detected and true events, as sed_eval counts.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.decisions import DetectedEvent

Events = Mapping[str, Sequence[LabelledEvent]]
"""Events by file name."""

Fits = Callable[[LabelledEvent, LabelledEvent], bool]
"""Whether a true event (first) and a detected one of its class (second) may be one."""


@dataclass(frozen=True)
class Counts:
    """What was found of one class, or of all: events or segments.

    Attributes:
        tp: Found, and true.
        fp: Found, not true.
        fn: True, not found.
    """

    tp: int
    fp: int
    fn: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def n_true(self) -> int:
        """How many there are."""
        return self.tp + self.fn

    @property
    def precision(self) -> float:
        """``tp / (tp + fp)``, 0 where nothing was found (sed_eval's ``zero_score``)."""
        return self.tp / max(1, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """``tp / (tp + fn)``, NaN where there is nothing to find."""
        return self.tp / self.n_true if self.n_true else math.nan

    @property
    def f1(self) -> float:
        """``2 tp / (2 tp + fp + fn)``, NaN where there is nothing to find."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.n_true else math.nan


@dataclass(frozen=True)
class Average:
    """Precision, recall and F1 of several classes, 0 to 1, NaN where there is nothing to find."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Tally:
    """Counts of each class."""

    by_label: dict[str, Counts]

    @property
    def total(self) -> Counts:
        """All classes' counts together; its precision, recall and F1 are the micro averages."""
        return sum(self.by_label.values(), Counts(0, 0, 0))

    @property
    def micro(self) -> Average:
        """Each event counts the same."""
        total = self.total
        return Average(total.precision, total.recall, total.f1)

    @property
    def macro(self) -> Average:
        """Each class counts the same; classes that are nowhere true are left out."""
        present = [counts for counts in self.by_label.values() if counts.n_true]
        return Average(
            _mean(counts.precision for counts in present),
            _mean(counts.recall for counts in present),
            _mean(counts.f1 for counts in present),
        )


def within_collar(collar_s: float = 0.2, offset_share: float | None = 0.2) -> Fits:
    """The usual condition of event-based metrics.

    Args:
        collar_s: How far the onset may be off, and the offset at least.
        offset_share: How far the offset may be off, as a share of the true event's length, if that is more; None
            asks for the onset only.
    """

    def fits(true: LabelledEvent, found: LabelledEvent) -> bool:
        if abs(true.onset_s - found.onset_s) > collar_s:
            return False
        if offset_share is None:
            return True
        return abs(true.offset_s - found.offset_s) <= max(collar_s, offset_share * (true.offset_s - true.onset_s))

    return fits


def overlap(true: LabelledEvent, found: LabelledEvent) -> bool:
    """Whether both are on at some time."""
    return true.onset_s < found.offset_s and found.onset_s < true.offset_s


def match(truth: Sequence[LabelledEvent], found: Sequence[LabelledEvent], fits: Fits) -> list[tuple[int, int]]:
    """Pair as many true and detected events as possible, each with one other at most.

    Args:
        truth: True events of one class in one file.
        found: Detected ones.
        fits: Which may be a pair.

    Returns:
        Places in ``truth`` and ``found``, by place in ``truth``; free and earlier ones are preferred.
    """
    options = [[place for place, event in enumerate(found) if fits(true, event)] for true in truth]
    return sorted((true, option) for option, true in largest_matching(options).items())


def largest_matching(options: Sequence[Sequence[int]]) -> dict[int, int]:
    """Give as many as possible an option each, and no option to two (Kuhn's augmenting paths, 1955).

    Args:
        options: What each may have, the best first; a free one is preferred.

    Returns:
        Whose place in ``options`` has an option, by option.
    """
    taken_by: dict[int, int] = {}

    def choices(one: int) -> Iterator[int]:
        return iter(sorted(options[one], key=taken_by.__contains__))  # free ones first

    for first in range(len(options)):
        tried: set[int] = set()
        path = [(first, choices(first))]  # by hand: a path may be longer than Python recurses
        wanted: list[int] = []
        while path:
            option = next((option for option in path[-1][1] if option not in tried), None)
            if option is None:
                path.pop()
                wanted = wanted[:-1]
                continue
            tried.add(option)
            wanted.append(option)
            if option not in taken_by:
                taken_by.update((option, one) for option, (one, _) in zip(wanted, path, strict=True))
                break
            path.append((taken_by[option], choices(taken_by[option])))
    return taken_by


def count_events(truth: Events, found: Events, labels: Iterable[str], fits: Fits) -> Tally:
    """Count the events that were found, class by class.

    Args:
        truth: Every file, with its true events.
        found: Detected events; files that ``truth`` does not name are not looked at.
        labels: The classes that are counted.
        fits: When a true and a detected event are one: `within_collar`.
    """
    return Tally({label: _count_label(truth, found, label, fits) for label in labels})


@dataclass(frozen=True)
class Delays:
    """When events were told of, of all true events that a detected one of their class overlaps, in seconds.

    Attributes:
        onset_errors_s: Detected onset less true onset.
        decisions_s: Decision less true onset, by the sample clock; only of `DetectedEvent`.
    """

    onset_errors_s: list[float] = field(default_factory=list[float])
    decisions_s: list[float] = field(default_factory=list[float])


def measure_delays(truth: Events, found: Events) -> Delays:
    """Pair events of a class that `overlap`, one with one, earlier ones first, and compare their onsets."""
    delays = Delays()
    for name, events in truth.items():
        for label in {event.label for event in events}:
            true, detected = _of(events, label), _of(found.get(name, ()), label)
            for i, j in match(true, detected, overlap):
                delays.onset_errors_s.append(detected[j].onset_s - true[i].onset_s)
                if isinstance(event := detected[j], DetectedEvent):
                    delays.decisions_s.append(event.decided_s - true[i].onset_s)
    return delays


@dataclass(frozen=True)
class FalseAlarms:
    """Detected events of a class in files that have none of it.

    Attributes:
        count: How many.
        hours: Length of those files.
    """

    count: int
    hours: float

    @property
    def per_hour(self) -> float:
        """``count / hours``, NaN where every file has the class."""
        return self.count / self.hours if self.hours else math.nan


def count_false_alarms(
    truth: Events, found: Events, durations_s: Mapping[str, float], labels: Iterable[str], ignored: Events | None = None
) -> dict[str, FalseAlarms]:
    """Count each class's detected events in the files of ``truth`` that have no event of that class.

    Args:
        truth: Every file, with its true events.
        found: Detected events.
        durations_s: Length of every file in ``truth``.
        labels: The classes that are counted.
        ignored: Ignored extents; a file that has one of a class is not without it.
    """
    ignored = ignored or {}
    alarms: dict[str, FalseAlarms] = {}
    for label in labels:
        without = [name for name, events in truth.items() if not _of([*events, *ignored.get(name, ())], label)]
        alarms[label] = FalseAlarms(
            count=sum(len(_of(found.get(name, ()), label)) for name in without),
            hours=math.fsum(durations_s[name] for name in without) / 3600,
        )
    return alarms


def _count_label(truth: Events, found: Events, label: str, fits: Fits) -> Counts:
    counts = Counts(0, 0, 0)
    for name, events in truth.items():
        true, detected = _of(events, label), _of(found.get(name, ()), label)
        tp = len(match(true, detected, fits))
        counts += Counts(tp, len(detected) - tp, len(true) - tp)
    return counts


def _of(events: Iterable[LabelledEvent], label: str) -> list[LabelledEvent]:
    return sorted(event for event in events if event.label == label)


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
