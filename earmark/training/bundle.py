"""Writes a bundle: the step, its spec, the credits of every recording used, and the card."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from earmark.contracts.bundle import BUNDLE_FORMAT, MODEL_FILE, SPEC_FILE, Bundle, BundleSpec, Training, load_bundle
from earmark.training.card import card
from earmark.training.config import TrainConfig
from earmark.training.index import Recording
from earmark.training.licences import normalised
from earmark.training.model import HOPS_PER_SCORE, Cost, Crnn
from earmark.training.release import Quality

CARD_FILE, CREDITS_FILE = "CARD.md", "CREDITS.csv"


def bundle_spec(
    model: Crnn, labels: tuple[str, ...], recordings: Sequence[Recording], config: TrainConfig
) -> BundleSpec:
    """What ``bundle.json`` says before anything is measured.

    Args:
        model: The trained model.
        labels: Its classes.
        recordings: Those that it was trained on.
        config: The run.
    """
    return BundleSpec(
        format=BUNDLE_FORMAT,
        name=config.name,
        version=config.version,
        description=config.description,
        front_end=config.front_end,
        hops_per_score=HOPS_PER_SCORE,
        labels=labels,
        groups=config.groups,
        states=model.state_specs(),
        receptive_field_s=None,
        delay_frames=config.model.delay_frames,
        smoothing=config.smoothing,
        smoothing_by_label=config.smoothing_by_label,
        training=Training(
            data=f"{len(recordings)} recordings, listed in {CREDITS_FILE}, and sounds that the project makes itself",
            licences=dict(Counter(normalised(recording.licence) for recording in recordings).most_common()),
            recipe=f"configs/train/{config.name}.yaml, {config.optim.steps} steps, seed {config.seed}",
        ),
    )


@dataclass(frozen=True)
class Made:
    """An exported step: the bytes of its ONNX file, and what it costs."""

    step: bytes
    cost: Cost


def write_bundle(folder: Path, spec: BundleSpec, made: Made) -> Bundle:
    """Write what the engine reads over what is there; the folder is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(made.step)
    (folder / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return load_bundle(folder)


def write_documents(bundle: Bundle, made: Made, quality: Quality, recordings: Sequence[Recording]) -> None:
    """Write what people read: the card, and the credits of every recording that was trained on."""
    text = card(bundle.spec, quality, made.cost, len(made.step))
    (bundle.folder / CARD_FILE).write_text(text, encoding="utf-8")
    with (bundle.folder / CREDITS_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label", "licence", "author", "source"])
        writer.writerows((r.file, r.label, r.licence, r.author, r.source) for r in recordings)
