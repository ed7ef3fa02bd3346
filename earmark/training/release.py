"""Makes a bundle fit to ship: tunes its smoothing and measures its quality, on mixes of the dev split's sounds.

Three sets of scenes are mixed of the same sounds, each by a seed of its own: what is chosen on one is measured on the
others.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from earmark.contracts.bundle import Bundle, BundleSpec
from earmark.contracts.errors import ConfigError
from earmark.evaluation.annotations import TRUTH_FILE, Annotations, LabelledClip, read_tsv
from earmark.evaluation.measures import (
    APART,
    ClipMeasures,
    ClipSetMeasures,
    SceneMeasures,
    measure_clips,
    measure_scenes,
)
from earmark.evaluation.scoring import ScoredFiles, score_files
from earmark.evaluation.tuning import tune, with_smoothing
from earmark.training.clips import dev_clips
from earmark.training.config import TrainConfig
from earmark.training.index import audio_base
from earmark.training.scene_files import RunAudio, write_made_scenes, write_recordings, write_scenes
from earmark.training.sources import SPEECH

N_MEASURED, N_TUNED, N_COUNTED, N_MADE = 300, 3600, 1800, 240
"""Scenes of `SCENE_S` each: for the F1 scores, to tune on, to count false alarms in; and of made sounds, to tune on."""
SCENE_S = 10.0
MAX_FALSE_ALARMS_PER_HOUR = 0.5
"""Of a class, on average, where it is tuned. Elsewhere there are more, and 1 is the aim."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class Quality:
    """What a bundle is worth on the dev split.

    Attributes:
        scenes: On the fixed dev scenes.
        counted: On five hours of other scenes, for false alarms.
        empty: On scenes with background only.
        meetings: On real meetings, if the split has some.
        clips: On the labelled clips.
    """

    scenes: SceneMeasures
    counted: SceneMeasures
    empty: SceneMeasures
    meetings: SceneMeasures | None
    clips: ClipSetMeasures

    @property
    def main_clips(self) -> ClipMeasures:
        """The clips but those of speech."""
        if self.clips.main is None:
            raise ConfigError(f"expected dev clips of one class each, and not all of {APART}, got none; list some")
        return self.clips.main

    def figures(self) -> dict[str, float]:
        """For ``bundle.json``; without those that there is nothing to measure on for."""
        scenes, clips = self.scenes, self.main_clips
        figures = {
            "clip_accuracy": clips.ranking.accuracy,
            "clip_top5": clips.ranking.top5,
            "clip_map": clips.ranking.mean_average_precision,
            "clip_lwlrap": clips.ranking.lwlrap,
            "scene_event_f1": scenes.event.micro.f1,
            "scene_onset_f1": scenes.onset.micro.f1,
            "scene_segment_f1": scenes.segment.micro.f1,
            "scene_psds1": scenes.psds1.score,
            "scene_psds2": scenes.psds2.score,
            "false_alarms_per_hour_and_class": _per_class(self.counted),
            "background_false_alarms_per_hour_and_class": _per_class(self.empty),
        }
        if self.meetings is not None:
            figures["meeting_speech_segment_f1"] = self.meetings.segment.by_label[SPEECH].f1
        return {name: round(float(value), 4) for name, value in figures.items() if math.isfinite(value)}


def _per_class(scenes: SceneMeasures) -> float:
    """False alarms an hour, the mean over the classes that some scenes are without; NaN where there is none."""
    n_classes = sum(alarms.hours > 0 for alarms in scenes.false_alarms.values())
    return scenes.false_alarms_per_hour / n_classes if n_classes else math.nan


def tuned(audio: RunAudio, bundle: Bundle) -> BundleSpec:
    """The bundle's spec with each class's smoothing, but what the config fixes, chosen for event F1."""
    config = audio.config
    _log.info("smoothing is tuned", scenes=N_TUNED + N_MADE, hours=round((N_TUNED + N_MADE) * SCENE_S / 3600, 1))
    truth: Annotations = {}
    scored = ScoredFiles(bundle.spec.labels, bundle.spec.output_hop / bundle.spec.sample_rate_hz, {}, {})
    made = _made(config, f"made-{N_MADE}", partial(write_made_scenes, count=N_MADE, labels=bundle.spec.labels))
    for folder in (_scenes(audio, N_TUNED, seed=1), made):
        events = read_tsv(folder / TRUTH_FILE)
        of_folder = score_files(bundle, folder, list(events))
        truth |= {f"{folder.name}/{name}": found for name, found in events.items()}
        scored.scores.update({f"{folder.name}/{name}": each for name, each in of_folder.scores.items()})
        scored.durations_s.update({f"{folder.name}/{name}": each for name, each in of_folder.durations_s.items()})
    chosen = tune(scored, truth, bundle.spec, max_false_alarms_per_hour=MAX_FALSE_ALARMS_PER_HOUR)
    note = f"for event F1 at {MAX_FALSE_ALARMS_PER_HOUR} false alarms/h a label on average on {len(truth)} dev scenes"
    fixed = config.smoothing_by_label
    spec = with_smoothing(bundle.spec, [one for one in chosen if one.label not in fixed], note)
    return spec.model_copy(update={"smoothing_by_label": {**spec.smoothing_by_label, **fixed}})


def measured(audio: RunAudio, bundle: Bundle) -> Quality:
    """Measure a bundle as it ships."""
    config = audio.config
    _log.info("quality is measured", bundle=bundle.spec.name)
    base = audio_base(config.data[0])
    labelled = [LabelledClip(each.file, each.label) for each in dev_clips(audio.recordings)]
    measure = partial(_measure, bundle)
    meetings = _made(config, "meetings-dev", partial(write_recordings, audio, split="dev"))
    return Quality(
        scenes=measure(_scenes(audio, N_MEASURED, seed=0)),
        counted=measure(_scenes(audio, N_COUNTED, seed=2)),
        empty=measure(_scenes(audio, N_MEASURED, seed=3, empty=True)),
        meetings=measure(meetings) if SPEECH in bundle.spec.labels and read_tsv(meetings / TRUTH_FILE) else None,
        clips=measure_clips(labelled, score_files(bundle, base, [clip.file for clip in labelled]), bundle.spec),
    )


def _measure(bundle: Bundle, folder: Path) -> SceneMeasures:
    truth = read_tsv(folder / TRUTH_FILE)
    return measure_scenes(truth, score_files(bundle, folder, list(truth)), bundle.spec)


def _scenes(audio: RunAudio, count: int, *, seed: int, empty: bool = False) -> Path:
    name = f"dev-{count}x{SCENE_S:g}s-{seed}{'-empty' if empty else ''}"
    write = partial(write_scenes, audio, split="dev", count=count, seed=seed, duration_s=SCENE_S, empty=empty)
    return _made(audio.config, name, write)


def _made(config: TrainConfig, name: str, write: Callable[[Path], None]) -> Path:
    """The folder of that name, written anew: the sounds may have changed."""
    folder = config.cache / "scenes" / config.name / name
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
    write(folder)
    return folder
