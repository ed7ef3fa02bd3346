"""What a bundle is measured on before it ships."""

from pathlib import Path

import pytest

from earmark.contracts.bundle import Bundle
from earmark.training import release
from earmark.training.config import TrainConfig
from earmark.training.scene_files import RunAudio
from tests.training.small_data import LABELS, write_small_data


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """A run on a list with a name of its own, with the tiny bundle's classes."""
    for name in ("N_MEASURED", "N_TUNED", "N_COUNTED", "N_MADE"):
        monkeypatch.setattr(release, name, 3)
    folder = write_small_data(tmp_path / "data")
    table = (folder / "index.csv").read_text()
    (folder / "index.csv").unlink()
    for theirs, ours in zip(LABELS, tiny_bundle.spec.labels, strict=False):
        table = table.replace(f",{theirs},", f",{ours},")
    (folder / "tones.csv").write_text(table)
    run = {"name": "tones", "description": "three tones", "naming": {"neutral": ["pink_noise"]}}
    paths = {"data": folder / "tones.csv", "cache": tmp_path / "cache", "out": tmp_path / "bundle"}
    return TrainConfig.model_validate(run | paths)


def test_the_dev_clips_are_those_of_the_list_whatever_its_form(config: TrainConfig, tiny_bundle: Bundle):
    quality = release.measured(RunAudio(config), tiny_bundle)
    assert quality.main_clips.n_clips == 2 * len(LABELS)
    assert "clip_accuracy" in quality.figures()
    assert quality.scenes.n_files == 3


def test_a_clip_of_two_classes_is_not_measured_as_one_of_each(config: TrainConfig, tiny_bundle: Bundle):
    first, second = tiny_bundle.spec.labels[:2]
    rows = config.data[0].read_text().splitlines()
    row = next(row for row in rows if f",dev,-,{first}," in row)
    config.data[0].write_text("\n".join([*rows, row.replace(f",{first},", f",{second},")]) + "\n")
    assert release.measured(RunAudio(config), tiny_bundle).main_clips.n_clips == 2 * len(LABELS) - 1
