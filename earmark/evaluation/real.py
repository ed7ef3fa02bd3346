"""Detected events on real recordings, of which a list says what must be found, what else may be, and nothing more.

Nobody marked onsets and offsets in these recordings, so there are three figures: how many of the named sounds were
found, how many wrong events there are in an hour, and in what share of the time something wrong was detected.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from earmark.contracts.errors import ConfigError
from earmark.evaluation.annotations import LabelledEvent, table_rows

_COLUMNS = ("file", "expected", "allowed", "seconds", "kind", "title")
LISTENED_FOR = frozenset((
    "airplane", "breathing", "brushing_teeth", "can_opening", "car_horn", "cat", "chainsaw", "chirping_birds",
    "church_bells", "clapping", "clock_alarm", "clock_tick", "coughing", "cow", "crackling_fire", "crickets",
    "crow", "crying_baby", "dog", "door_wood_creaks", "door_wood_knock", "drinking_sipping", "engine",
    "fireworks", "footsteps", "frog", "glass_breaking", "hand_saw", "helicopter", "hen", "insects",
    "keyboard_typing", "laughing", "mouse_click", "pig", "pouring_water", "rain", "rooster", "sea_waves", "sheep",
    "siren", "sneezing", "snoring", "speech", "thunderstorm", "toilet_flush", "train", "vacuum_cleaner",
    "washing_machine", "water_drops", "wind",
))  # fmt: skip
"""ESC-50's classes and speech. Every list is made with these in mind, so one that no row names is in no recording."""


@dataclass(frozen=True)
class RealRecording:
    """A recording, and what may be detected in it.

    Attributes:
        file: Its path, relative to the list's folder.
        expected: The class that must be found; empty where none must.
        allowed: Other classes that are not wrong.
        kind: What it is a recording of, such as ``music``; figures are also given by kind.
        title: For people.
        seconds: How long it is, as the list says.
    """

    file: str
    expected: str
    allowed: frozenset[str]
    kind: str
    title: str
    seconds: float

    def permits(self, label: str) -> bool:
        """Whether an event of the class is right here."""
        return label == self.expected or label in self.allowed


@dataclass(frozen=True)
class Detections:
    """Some events: how many, and the seconds that they cover together, overlaps counted once."""

    n_events: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Detections") -> "Detections":
        """Of two recordings together."""
        return Detections(self.n_events + other.n_events, self.seconds + other.seconds)


@dataclass(frozen=True)
class RealCounts:
    """What was found in some recordings.

    Attributes:
        asked: Recordings with a class that must be found.
        found: Those in which an event of that class was detected, at any time.
        wrong: Events of classes that are neither expected nor allowed.
        duration_s: How long the recordings are.
    """

    asked: int = 0
    found: int = 0
    wrong: Detections = Detections()
    duration_s: float = 0.0

    def __add__(self, other: "RealCounts") -> "RealCounts":
        return RealCounts(
            self.asked + other.asked,
            self.found + other.found,
            self.wrong + other.wrong,
            self.duration_s + other.duration_s,
        )

    @property
    def found_share(self) -> float:
        """``found / asked``, NaN where nothing must be found."""
        return self.found / self.asked if self.asked else math.nan

    @property
    def wrong_per_hour(self) -> float:
        """Wrong events an hour, of all classes together."""
        return 3600 * self.wrong.n_events / self.duration_s if self.duration_s else math.nan

    @property
    def wrong_share(self) -> float:
        """Share of the time in which at least one wrong event is on."""
        return self.wrong.seconds / self.duration_s if self.duration_s else math.nan


@dataclass(frozen=True)
class RecordingMeasures:
    """What was detected in one recording.

    Attributes:
        recording: Which one.
        counts: Its figures.
        right: Expected and allowed classes that were detected.
        wrong: Other classes that were, each with its events.
        unjudged: Classes that were detected and that the list cannot judge; see `RealMeasures`.
    """

    recording: RealRecording
    counts: RealCounts
    right: tuple[str, ...]
    wrong: dict[str, Detections]
    unjudged: dict[str, Detections]


@dataclass(frozen=True)
class RealMeasures:
    """What was detected in all recordings of a list.

    A class that is neither in `LISTENED_FOR` nor named by any row, as expected or as allowed, is one that whoever made
    the list did not listen for. The list cannot judge it, so its events are never wrong and are reported apart.

    Attributes:
        recordings: Each recording, in the list's order.
        labels: The detector's classes that the list can judge.
        left_out: Recordings that ask for a class that the detector does not have, by class; not in ``asked``.
    """

    recordings: tuple[RecordingMeasures, ...]
    labels: tuple[str, ...]
    left_out: dict[str, int]

    @property
    def total(self) -> RealCounts:
        """All recordings together."""
        return _total(one.counts for one in self.recordings)

    @property
    def by_kind(self) -> dict[str, RealCounts]:
        """The recordings of each kind, in the order of the list."""
        kinds = dict.fromkeys(one.recording.kind for one in self.recordings)
        return {kind: _total(one.counts for one in self.recordings if one.recording.kind == kind) for kind in kinds}

    @property
    def by_label(self) -> dict[str, RealCounts]:
        """Each class that the list judges: asked, found and wrong events of this class, over all recordings."""
        return {label: _total(_counts_of(label, one) for one in self.recordings) for label in self.labels}

    @property
    def unjudged(self) -> dict[str, dict[str, Detections]]:
        """Events of classes that the list cannot judge, by class and kind of recording."""
        found: defaultdict[str, defaultdict[str, Detections]] = defaultdict(lambda: defaultdict(Detections))
        for one in self.recordings:
            for label, detections in one.unjudged.items():
                found[label][one.recording.kind] += detections
        return {label: dict(found[label]) for label in sorted(found)}


def read_real(path: Path) -> list[RealRecording]:
    """Read a list of real recordings: a CSV with the columns file, expected, allowed, seconds, kind and title.

    Args:
        path: The list; its files are named relative to its folder, and ``allowed`` has classes with spaces between.

    Raises:
        ConfigError: The list cannot be read, is empty, names a file twice or one that is not there, or a row makes no
            sense; names file and line.
    """
    found: dict[str, RealRecording] = {}
    for where, row in table_rows(path, ",", _COLUMNS):
        recording = _recording(where, row)
        if recording.file in found:
            raise ConfigError(f"{where}: expected each file once, got {recording.file!r} again; remove a row")
        if not (path.parent / recording.file).is_file():
            raise ConfigError(
                f"{where}: expected an audio file at {path.parent / recording.file}, found none; "
                "paths in the list start from its own folder"
            )
        found[recording.file] = recording
    if not found:
        raise ConfigError(f"{path}: expected a row for each recording, got none")
    return list(found.values())


def measure_real(
    recordings: Sequence[RealRecording],
    found: Mapping[str, Sequence[LabelledEvent]],
    durations_s: Mapping[str, float],
    labels: Sequence[str],
) -> RealMeasures:
    """Judge detected events by a list of real recordings.

    Args:
        recordings: The list.
        found: The events of each recording, by file; what lies after the recording's end is not counted.
        durations_s: How long each recording is, by file.
        labels: The detector's classes. A recording that asks for another class does not count as asked.
    """
    judged = judged_labels(recordings)
    return RealMeasures(
        tuple(_measure(one, found[one.file], durations_s[one.file], labels, judged) for one in recordings),
        tuple(label for label in labels if label in judged),
        dict(sorted(Counter(one.expected for one in recordings if one.expected not in {"", *labels}).items())),
    )


def judged_labels(recordings: Iterable[RealRecording]) -> frozenset[str]:
    """The classes that a list can call wrong: those of `LISTENED_FOR`, and those that a row expects or allows."""
    return LISTENED_FOR.union(*(one.allowed | {one.expected} for one in recordings)) - {""}


def covered_s(events: Iterable[LabelledEvent], duration_s: float) -> float:
    """Seconds of [0, ``duration_s``) in which at least one of the events is on."""
    covered, end_s = 0.0, 0.0
    for event in sorted(events):
        onset_s, offset_s = max(event.onset_s, end_s), min(event.offset_s, duration_s)
        if onset_s < offset_s:
            covered, end_s = covered + offset_s - onset_s, offset_s
    return min(covered, duration_s)


def _measure(
    recording: RealRecording,
    events: Sequence[LabelledEvent],
    duration_s: float,
    labels: Sequence[str],
    judged: frozenset[str],
) -> RecordingMeasures:
    heard = [event for event in events if event.onset_s < duration_s]
    wrong = [event for event in heard if event.label in judged and not recording.permits(event.label)]
    right = {event.label for event in heard if recording.permits(event.label)}
    is_asked = recording.expected in labels
    counts = RealCounts(
        asked=int(is_asked),
        found=int(is_asked and recording.expected in right),
        wrong=Detections(len(wrong), covered_s(wrong, duration_s)),
        duration_s=duration_s,
    )
    unjudged = [event for event in heard if event.label not in judged]
    return RecordingMeasures(
        recording, counts, tuple(sorted(right)), _by_label(wrong, duration_s), _by_label(unjudged, duration_s)
    )


def _by_label(events: Sequence[LabelledEvent], duration_s: float) -> dict[str, Detections]:
    of_label: defaultdict[str, list[LabelledEvent]] = defaultdict(list)
    for event in events:
        of_label[event.label].append(event)
    return {label: Detections(len(some), covered_s(some, duration_s)) for label, some in sorted(of_label.items())}


def _counts_of(label: str, one: RecordingMeasures) -> RealCounts:
    """A recording's figures for one class alone."""
    is_asked = one.recording.expected == label
    wrong = one.wrong.get(label, Detections())
    return RealCounts(int(is_asked), int(is_asked and label in one.right), wrong, one.counts.duration_s)


def _total(counts: Iterable[RealCounts]) -> RealCounts:
    return sum(counts, RealCounts())


def _recording(where: str, row: Mapping[str, str]) -> RealRecording:
    for column in ("file", "kind"):
        if not row[column]:
            raise ConfigError(f"{where}: expected a {column}, got an empty column; only expected and allowed may be")
    if " " in row["expected"]:
        raise ConfigError(
            f"{where}: expected at most one class in the column expected, got {row['expected']!r}; "
            "move the others to allowed"
        )
    return RealRecording(
        file=row["file"],
        expected=row["expected"],
        allowed=frozenset(row["allowed"].split()),
        kind=row["kind"],
        title=row["title"],
        seconds=_seconds(where, row["seconds"]),
    )


def _seconds(where: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{where}: expected the recording's length in seconds, got {text!r}")
    return seconds
