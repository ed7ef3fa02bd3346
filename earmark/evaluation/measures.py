"""Everything that is measured of a bundle: on scenes with known events, and on clips of a known class."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from earmark.contracts.bundle import Bundle, BundleSpec
from earmark.contracts.errors import ConfigError
from earmark.evaluation.annotations import Annotations, LabelledClip, LabelledEvent, inside_files
from earmark.evaluation.calibration import Reliability, active_frames
from earmark.evaluation.decisions import DetectedEvent, decide
from earmark.evaluation.events import (
    Delays,
    FalseAlarms,
    Tally,
    count_events,
    count_false_alarms,
    measure_delays,
    within_collar,
)
from earmark.evaluation.ignoring import drop_ignored
from earmark.evaluation.psds import PSDS1, PSDS2, Psds, measure_psds
from earmark.evaluation.real_comparison import RealComparison
from earmark.evaluation.scoring import ScoredFiles
from earmark.evaluation.segments import count_segments
from earmark.evaluation.tagging import Ranking, clip_score, confusions, count_tags, rank
from engine.runtimes import Scores

APART = "speech"
"""Its clips are many, short and of another source, so they would drown the others; they are measured by themselves."""

Detected = dict[str, list[DetectedEvent]]


@dataclass(frozen=True, eq=False)
class SceneMeasures:
    """What was measured on scenes.

    Attributes:
        n_files: How many scenes.
        hours: Their length.
        n_events: True events of the bundle's labels.
        n_ignored: Ignored extents of these labels; see `earmark.evaluation.ignoring`.
        left_out: True events of other labels, by label.
        event: Counts within the usual collars.
        onset: Counts by onset alone.
        segment: Counts of seconds.
        psds1: The score that asks for exact times.
        psds2: The score that asks for the right class.
        delays: Of events that were found.
        false_alarms: By label.
        reliability: Of every frame's score of every label, as the model gives it.
        detected: What the bundle's smoothing makes of the scores, ignored events included.
    """

    n_files: int
    hours: float
    n_events: int
    n_ignored: int
    left_out: dict[str, int]
    event: Tally
    onset: Tally
    segment: Tally
    psds1: Psds
    psds2: Psds
    delays: Delays
    false_alarms: dict[str, FalseAlarms]
    reliability: Reliability
    detected: Detected

    @property
    def false_alarms_per_hour(self) -> float:
        """All labels' rates together; a label that is in every file has none."""
        rates = [alarms.per_hour for alarms in self.false_alarms.values() if alarms.hours]
        return math.fsum(rates) if rates else math.nan


@dataclass(frozen=True, eq=False)
class ClipMeasures:
    """What was measured on clips of one class each.

    Attributes:
        n_clips: How many.
        hours: Their length.
        labels: The classes, in the order of `confusions`.
        ranking: By the clip scores' order.
        by_score: Clips whose score reaches their class's onset threshold.
        by_event: Clips in which an event was detected.
        confusions: int64 ``[C, C]``; see `earmark.evaluation.tagging.confusions`.
    """

    n_clips: int
    hours: float
    labels: tuple[str, ...]
    ranking: Ranking
    by_score: Tally
    by_event: Tally
    confusions: NDArray[np.int64]

    @property
    def n_classes(self) -> int:
        """How many classes the clips are of."""
        return sum(counts.n_true > 0 for counts in self.by_event.by_label.values())

    def confused(self, n_most: int = 20) -> list[tuple[str, str, int]]:
        """The most frequent confusions: true label, named label, clips."""
        pairs = [
            (true, named, int(self.confusions[row, column]))
            for row, true in enumerate(self.labels)
            for column, named in enumerate(self.labels)
            if row != column and self.confusions[row, column]
        ]
        return sorted(pairs, key=lambda pair: -pair[2])[:n_most]


@dataclass(frozen=True, eq=False)
class ClipSetMeasures:
    """What was measured on a set of clips.

    Attributes:
        main: All clips but those of `APART`; None where there are none.
        apart: Those of `APART`.
        left_out: Clips of labels that the bundle does not have, by label.
        detected: What the bundle's smoothing makes of the scores.
    """

    main: ClipMeasures | None
    apart: ClipMeasures | None
    left_out: dict[str, int]
    detected: Detected

    @property
    def parts(self) -> list[tuple[str, ClipMeasures]]:
        """Those that there are, with their names."""
        parts = (("clips", self.main), (f"{APART} clips", self.apart))
        return [(name, measured) for name, measured in parts if measured is not None]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured of a bundle.

    Attributes:
        bundle: The bundle.
        command: How to do it again.
        scenes: None where there were none.
        clips: None where there were none.
        real: None where there were no real recordings.
    """

    bundle: Bundle
    command: str
    scenes: SceneMeasures | None
    clips: ClipSetMeasures | None
    real: RealComparison | None = None


def measure_scenes(
    truth: Annotations, scored: ScoredFiles, spec: BundleSpec, ignored: Annotations | None = None
) -> SceneMeasures:
    """Measure the scores of scenes against their true events.

    Args:
        truth: Every scene.
        scored: Scores of every scene.
        spec: The bundle's, whose smoothing makes scores events.
        ignored: Extents that count neither as found nor as missed; see `earmark.evaluation.ignoring`.

    Raises:
        ConfigError: No event is of the bundle's labels, or one begins after its file's end.
    """
    labels, durations_s, ignored = scored.labels, scored.durations_s, ignored or {}
    truth = inside_files(truth, durations_s)
    known = {name: [event for event in events if event.label in labels] for name, events in truth.items()}
    left_out = _left_out([event for events in truth.values() for event in events], labels, "scenes with events")
    detected = decide(scored, spec)
    counted = drop_ignored(detected, known, ignored)
    smoothed = replace(scored, scores=smooth(scored.scores, spec))
    return SceneMeasures(
        n_files=len(truth),
        hours=sum(durations_s[name] for name in truth) / 3600,
        n_events=sum(map(len, known.values())),
        n_ignored=sum(event.label in labels for events in ignored.values() for event in events),
        left_out=left_out,
        event=count_events(known, counted, labels, within_collar()),
        onset=count_events(known, counted, labels, within_collar(offset_share=None)),
        segment=count_segments(known, counted, durations_s, labels, ignored=ignored),
        psds1=measure_psds(known, smoothed, PSDS1, ignored),
        psds2=measure_psds(known, smoothed, PSDS2, ignored),
        delays=measure_delays(known, counted),
        false_alarms=count_false_alarms(known, counted, durations_s, labels, ignored),
        reliability=_reliability(known, scored, spec, ignored),
        detected=detected,
    )


def measure_clips(clips: Sequence[LabelledClip], scored: ScoredFiles, spec: BundleSpec) -> ClipSetMeasures:
    """Measure the scores of clips against their classes.

    Args:
        clips: Every clip.
        scored: Scores of every clip.
        spec: The bundle's, whose smoothing makes scores events.

    Raises:
        ConfigError: No clip is of the bundle's labels.
    """
    left_out = _left_out(clips, scored.labels, "clips")
    detected = decide(scored, spec)
    known = [clip for clip in clips if clip.label in scored.labels]
    main, apart = [clip for clip in known if clip.label != APART], [clip for clip in known if clip.label == APART]
    return ClipSetMeasures(
        main=_measure_clips(main, scored, spec, detected) if main else None,
        apart=_measure_clips(apart, scored, spec, detected) if apart else None,
        left_out=left_out,
        detected=detected,
    )


def smooth(scores: Mapping[str, Scores], spec: BundleSpec) -> dict[str, Scores]:
    """Each class's running median as the bundle smooths it, float32 ``[T, C]``, with zeros around each file.

    Scores are where they belong: the bundle's delay is undone.
    """
    n_frames = [spec.smoothing_of(label).median_frames for label in spec.labels]
    smoothed: dict[str, Scores] = {}
    for name, of_file in scores.items():
        medians = np.empty_like(of_file)
        for length in set(n_frames):
            of_class = np.array(n_frames) == length
            padded = np.pad(of_file[:, of_class], ((length // 2, length), (0, 0)))
            windows = sliding_window_view(padded, length, axis=0)[: len(of_file)]
            medians[:, of_class] = np.partition(windows, length // 2, axis=-1)[..., length // 2]
        smoothed[name] = in_time(medians, spec)
    return smoothed


def in_time(scores: Scores, spec: BundleSpec) -> Scores:
    """Scores ``[T, C]`` at the time of what they tell of, with zeros where nothing was told yet."""
    return np.pad(scores[spec.delay_frames :], ((0, min(spec.delay_frames, len(scores))), (0, 0)))


def _left_out(labelled: Sequence[LabelledEvent | LabelledClip], labels: Collection[str], what: str) -> dict[str, int]:
    """How many there are of each label that the bundle does not have; it is refused that there are no others."""
    left_out = Counter(one.label for one in labelled if one.label not in labels)
    if left_out and left_out.total() == len(labelled):
        raise ConfigError(f"expected {what} of the bundle's labels, got only {', '.join(sorted(left_out))}")
    return dict(sorted(left_out.items()))


def _measure_clips(
    clips: Sequence[LabelledClip], scored: ScoredFiles, spec: BundleSpec, detected: Detected
) -> ClipMeasures:
    labels = scored.labels
    scores = np.stack([clip_score(scored.scores[clip.file]) for clip in clips])
    truth = np.array([[clip.label == label for label in labels] for clip in clips])
    heard = [{event.label for event in detected[clip.file]} for clip in clips]
    thresholds = np.array([spec.smoothing_of(label).onset_threshold for label in labels])
    return ClipMeasures(
        n_clips=len(clips),
        hours=sum(scored.durations_s[clip.file] for clip in clips) / 3600,
        labels=labels,
        ranking=rank(scores, truth),
        by_score=count_tags(scores >= thresholds, truth, labels),
        by_event=count_tags(np.array([[label in of_clip for label in labels] for of_clip in heard]), truth, labels),
        confusions=confusions(scores, truth),
    )


def _reliability(truth: Annotations, scored: ScoredFiles, spec: BundleSpec, ignored: Annotations) -> Reliability:
    reliability = Reliability.empty()
    for name, events in truth.items():
        scores = in_time(scored.scores[name], spec)
        is_true, is_ignored = (
            active_frames(extents, len(scores), scored.frame_s, scored.labels)
            for extents in (events, ignored.get(name, ()))
        )
        is_counted = is_true | ~is_ignored
        reliability = reliability.add(scores[is_counted], is_true[is_counted])
    return reliability
