"""Writes a bundle: the step, its spec, what it remembers, the credits of every recording used, and the card."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from earmark.contracts.bundle import (
    BUNDLE_FORMAT,
    MODEL_FILE,
    SPEC_FILE,
    Bundle,
    BundleSpec,
    StateSpec,
    Training,
    load_bundle,
)
from earmark.contracts.errors import ConfigError
from earmark.training.calibration import Calibration
from earmark.training.card import card
from earmark.training.config import TrainConfig
from earmark.training.index import Recording
from earmark.training.licences import normalised
from earmark.training.memory import Memory
from earmark.training.model import HOPS_PER_SCORE, Cost
from earmark.training.release import Quality, dev_material, measured, tuned
from earmark.training.scene_files import RunAudio

CARD_FILE, CREDITS_FILE = "CARD.md", "CREDITS.csv"


def bundle_spec(
    states: tuple[StateSpec, ...], labels: tuple[str, ...], recordings: Sequence[Recording], config: TrainConfig
) -> BundleSpec:
    """What ``bundle.json`` says before anything is measured.

    Args:
        states: Of its step.
        labels: Its classes.
        recordings: Those that it was trained on.
        config: The run.

    Raises:
        ConfigError: The config says what no bundle can be, such as a group of classes that are not there.
    """
    try:
        return _spec(states, labels, recordings, config)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise ConfigError(f"the run {config.name!r}: {where}{first['msg']}; change its config") from error


def _spec(
    states: tuple[StateSpec, ...], labels: tuple[str, ...], recordings: Sequence[Recording], config: TrainConfig
) -> BundleSpec:
    return BundleSpec(
        format=BUNDLE_FORMAT,
        name=config.name,
        version=config.version,
        description=config.description,
        front_end=config.front_end,
        hops_per_score=HOPS_PER_SCORE,
        labels=labels,
        groups=config.groups,
        states=states,
        receptive_field_s=None,
        delay_frames=config.model.delay_frames,
        smoothing=config.smoothing,
        smoothing_by_label=config.smoothing_by_label,
        training=training_of(recordings, config),
    )


def training_of(recordings: Sequence[Recording], config: TrainConfig) -> Training:
    """Where the weights of a run come from."""
    seeds = f"seed {config.seed}" if config.members == 1 else f"seeds {', '.join(map(str, config.seeds))}"
    return Training(
        data=f"{len(recordings)} recordings, listed in {CREDITS_FILE}, and sounds that the project makes itself",
        licences=dict(Counter(normalised(recording.licence) for recording in recordings).most_common()),
        recipe=f"configs/train/{config.name}.yaml, {config.optim.steps} steps, {seeds}",
    )


Credit = tuple[str, ...]
"""A row of the credits, as in `_CREDIT_COLUMNS`."""
_CREDIT_COLUMNS = ("file", "label", "licence", "author", "source")


@dataclass(frozen=True)
class Made:
    """An exported step: the bytes of its ONNX file, what it costs, and what it remembers of its training."""

    step: bytes
    cost: Cost
    memory: Memory


@dataclass(frozen=True)
class Shipped:
    """A bundle that was written.

    Attributes:
        spec: What ``bundle.json`` says.
        quality: What it was measured to be worth.
        calibration: What its step's last layer took up; None where the config does not ask for it.
    """

    spec: BundleSpec
    quality: Quality
    calibration: Calibration | None


def ship(
    audio: RunAudio, spec: BundleSpec, made: Made, credit: Sequence[Credit], least: Mapping[str, float] | None = None
) -> Shipped:
    """Write a bundle into its config's ``out``: tuned, measured as it ships, with card and credits.

    Args:
        audio: What to tune and to measure on; its config says how.
        spec: Of the bundle, but for these.
        made: The step.
        credit: Every recording that it was trained on.
        least: Onset thresholds that the tuning must not go below, by label.
    """
    out = audio.config.out
    material = dev_material(audio, write_bundle(out, spec, made.step))
    calibration = None
    if audio.config.calibrate and material.recordings:
        calibration = Calibration.fit(material)
        material, made = calibration.applied(material), replace(made, step=calibration.folded(made.step))
    spec = tuned(audio, spec, material, least)
    return Shipped(*ship_tuned(audio, out, spec, made, credit), calibration)


def ship_tuned(
    audio: RunAudio, out: Path, spec: BundleSpec, made: Made, credit: Sequence[Credit]
) -> tuple[BundleSpec, Quality]:
    """As `ship`, into ``out``, with the step and the smoothing as they are."""
    quality = measured(audio, write_bundle(out, spec, made.step))
    spec = spec.model_copy(update={"quality": spec.quality | quality.figures()})
    folder = write_bundle(out, spec, made.step).folder
    made.memory.save(folder)
    (folder / CARD_FILE).write_text(card(spec, quality, made.cost, len(made.step)), encoding="utf-8")
    write_credits(folder, credit)
    return spec, quality


def write_credits(folder: Path, credit: Sequence[Credit]) -> None:
    """Write who is to be credited into a bundle."""
    with (folder / CREDITS_FILE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([_CREDIT_COLUMNS, *credit])


def write_bundle(folder: Path, spec: BundleSpec, step: bytes) -> Bundle:
    """Write what the engine reads over what is there; the folder is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(step)
    (folder / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return load_bundle(folder)


def credits_of(recordings: Sequence[Recording]) -> list[Credit]:
    """Who is to be credited for what."""
    return [(r.file, r.label, r.licence, r.author, r.source) for r in recordings]


def read_credits(bundle: Bundle) -> list[Credit]:
    """The credits of a bundle that is there; none where it has no such file."""
    path = bundle.folder / CREDITS_FILE
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file)][1:]
