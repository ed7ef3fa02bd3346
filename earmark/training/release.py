"""Makes a bundle fit to ship: tunes its smoothing and measures its quality, on the dev split.

Three sets of scenes are mixed of the same sounds, each by a seed of its own: what is chosen on one is measured on the
others. Real recordings are few, so they are both chosen and measured on; the tuning says what to expect elsewhere.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog

from earmark.contracts.bundle import Bundle, BundleSpec
from earmark.contracts.errors import ConfigError
from earmark.contracts.presets import PRESETS, Preset
from earmark.evaluation.annotations import TRUTH_FILE, Annotations, LabelledClip, inside_files, read_ignored, read_tsv
from earmark.evaluation.decisions import decide
from earmark.evaluation.material import Material
from earmark.evaluation.measures import (
    APART,
    ClipMeasures,
    ClipSetMeasures,
    SceneMeasures,
    measure_clips,
    measure_scenes,
)
from earmark.evaluation.real import RealMeasures, measure_real, read_real
from earmark.evaluation.scoring import ScoredFiles, score_files
from earmark.evaluation.tuning import tune, with_presets
from earmark.training.clips import dev_clips
from earmark.training.config import TrainConfig
from earmark.training.index import audio_base
from earmark.training.scene_files import RunAudio, write_made_scenes, write_recordings, write_scenes
from earmark.training.sources import SPEECH

N_MEASURED, N_TUNED, N_COUNTED, N_MADE = 300, 3600, 1800, 240
"""Scenes of `SCENE_S` each: for the F1 scores, to tune on, to count false alarms in; and of made sounds, to tune on."""
SCENE_S = 10.0

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
        presets: On real recordings, under each preset; empty without a list of them.
    """

    scenes: SceneMeasures
    counted: SceneMeasures
    empty: SceneMeasures
    meetings: SceneMeasures | None
    clips: ClipSetMeasures
    presets: dict[Preset, RealMeasures]

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
        for preset, measures in self.presets.items():
            figures |= {
                f"{preset}_found_share": measures.total.found_share,
                f"{preset}_wrong_per_hour": measures.total.wrong_per_hour,
                f"{preset}_wrong_share": measures.total.wrong_share,
            }
        return {name: round(float(value), 4) for name, value in figures.items() if math.isfinite(value)}


def _per_class(scenes: SceneMeasures) -> float:
    """False alarms an hour, the mean over the classes that some scenes are without; NaN where there is none."""
    n_classes = sum(alarms.hours > 0 for alarms in scenes.false_alarms.values())
    return scenes.false_alarms_per_hour / n_classes if n_classes else math.nan


def dev_material(audio: RunAudio, bundle: Bundle) -> Material:
    """What a bundle is calibrated and tuned on, scored by it: mixed scenes, made ones, and the config's real list."""
    config, spec = audio.config, bundle.spec
    scored = ScoredFiles(spec.labels, spec.output_hop / spec.sample_rate_hz, {}, {})
    scenes: Annotations = {}
    ignored: Annotations = {}
    made = _made(config, f"made-{N_MADE}", partial(write_made_scenes, count=N_MADE, labels=spec.labels))
    for folder in (_scenes(audio, N_TUNED, seed=1), made):
        truth = read_tsv(folder / TRUTH_FILE)
        scenes |= {f"{folder.name}/{name}": events for name, events in truth.items()}
        ignored |= {f"{folder.name}/{name}": extents for name, extents in read_ignored(folder, truth).items()}
        _add(scored, score_files(bundle, folder, list(truth)), f"{folder.name}/")
    recordings = [] if config.real is None else read_real(config.real)
    if config.real is not None:
        _add(scored, score_files(bundle, config.real.parent, [one.file for one in recordings]))
    return Material(scored, inside_files(scenes, scored.durations_s), recordings, ignored)


def _add(scored: ScoredFiles, more: ScoredFiles, prefix: str = "") -> None:
    scored.scores.update({prefix + name: scores for name, scores in more.scores.items()})
    scored.durations_s.update({prefix + name: seconds for name, seconds in more.durations_s.items()})


def tuned(audio: RunAudio, spec: BundleSpec, material: Material, least: Mapping[str, float] | None) -> BundleSpec:
    """A bundle's spec with presets tuned on ``material``, but for what its config or its own presets fix.

    Onset thresholds of the labels in ``least`` are not below what it says.
    """
    n_scenes, n_real = len(material.scenes), len(material.recordings)
    _log.info("smoothing is tuned", scenes=n_scenes, recordings=n_real)
    fixed = audio.config.smoothing_by_label
    chosen = {
        preset: replace(one, smoothing=one.smoothing | fixed | spec.presets.get(preset, {}))
        for preset, one in tune(material, spec, least=least).items()
    }
    return with_presets(spec, chosen, f"in three presets on {n_scenes} dev scenes and {n_real} real recordings")


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
        presets={} if config.real is None else _measured_presets(config.real, bundle),
    )


def _measured_presets(real: Path, bundle: Bundle) -> dict[Preset, RealMeasures]:
    recordings, labels = read_real(real), bundle.spec.labels
    scored = score_files(bundle, real.parent, [one.file for one in recordings])
    decided = {preset: decide(scored, bundle.with_preset(preset).spec) for preset in PRESETS}
    return {preset: measure_real(recordings, found, scored.durations_s, labels) for preset, found in decided.items()}


def _measure(bundle: Bundle, folder: Path) -> SceneMeasures:
    truth = read_tsv(folder / TRUTH_FILE)
    return measure_scenes(truth, score_files(bundle, folder, list(truth)), bundle.spec, read_ignored(folder, truth))


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
