"""Writes a bundle: the step, its spec, the credits of every recording used, and the card."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from earmark.contracts.bundle import BUNDLE_FORMAT, MODEL_FILE, SPEC_FILE, BundleSpec, Training
from earmark.training.card import card
from earmark.training.config import TrainConfig
from earmark.training.index import Recording
from earmark.training.model import HOPS_PER_SCORE, Crnn, cost
from earmark.training.report import Report

CARD_FILE, CREDITS_FILE = "CARD.md", "CREDITS.csv"


def bundle_spec(
    model: Crnn, labels: tuple[str, ...], recordings: Sequence[Recording], config: TrainConfig, report: Report
) -> BundleSpec:
    """What ``bundle.json`` says.

    Args:
        model: The trained model.
        labels: Its classes.
        recordings: Those that it was trained on.
        config: The run.
        report: What was measured.
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
        smoothing=config.smoothing,
        smoothing_by_label=config.smoothing_by_label,
        training=Training(
            data=f"{len(recordings)} recordings, listed in {CREDITS_FILE}, and sounds that the project makes itself",
            licences=dict(Counter(recording.licence for recording in recordings).most_common()),
            recipe=f"configs/train/{config.name}.yaml, {config.optim.steps} steps, seed {config.seed}",
        ),
        quality=report.figures,
    )


@dataclass(frozen=True)
class Made:
    """A bundle before it is written.

    Attributes:
        step: The ONNX model.
        model: What the step was made from, for its cost.
        spec: What ``bundle.json`` says.
        recordings: Those that it was trained on.
        report: What was measured.
    """

    step: bytes
    model: Crnn
    spec: BundleSpec
    recordings: Sequence[Recording]
    report: Report


def write_bundle(folder: Path, made: Made) -> None:
    """Write all files of a bundle over those that are there; the folder is made if need be."""
    spec = made.spec
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(made.step)
    (folder / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    hops_per_s = spec.front_end.sample_rate_hz / spec.front_end.hop_length
    text = card(spec, made.report, cost(made.model, hops_per_s), len(made.step))
    (folder / CARD_FILE).write_text(text, encoding="utf-8")
    with (folder / CREDITS_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label", "licence", "author", "source"])
        writer.writerows((r.file, r.label, r.licence, r.author, r.source) for r in made.recordings)
