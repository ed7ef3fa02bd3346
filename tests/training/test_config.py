from pathlib import Path

import pytest

from earmark.contracts.errors import ConfigError
from earmark.training.config import TrainConfig
from earmark.training.index import read_index

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "configs" / "train").glob("*.yaml"))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_loads(path: Path):
    assert TrainConfig.load(path).name == path.stem


def test_an_unknown_key_is_refused_by_name(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("{name: x, description: x, data: d, out: o, optim: {stepz: 3}}")
    with pytest.raises(ConfigError, match=r"optim\.stepz"):
        TrainConfig.load(path)


def test_a_run_may_extend_another(tmp_path: Path):
    (tmp_path / "base.yaml").write_text("{name: base, description: x, data: d, out: o, seed: 3, optim: {steps: 5}}")
    path = tmp_path / "run.yaml"
    path.write_text("{extends: base.yaml, name: run, members: 2}")
    run = TrainConfig.load(path)
    assert (run.name, run.optim.steps, list(run.seeds)) == ("run", 5, [3, 4])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("{extends: none.yaml}", "expected a training config in .*none"),
        ("{extends: run.yaml, name: x, description: x, data: d, out: o}", "extends: Extra inputs"),
        ("{extends: list.yaml}", "run.yaml"),
    ],
)
def test_what_cannot_be_extended_is_refused(tmp_path: Path, said: str, expected: str):
    (tmp_path / "list.yaml").write_text("[a, b]")
    path = tmp_path / "run.yaml"
    path.write_text(said)
    with pytest.raises(ConfigError, match=expected):
        TrainConfig.load(path)


def test_a_missing_config_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="expected a training config"):
        TrainConfig.load(tmp_path / "none.yaml")


def test_a_config_in_another_encoding_is_refused(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_bytes("name: x  # Tür".encode("latin-1"))
    with pytest.raises(ConfigError, match="expected a training config"):
        TrainConfig.load(path)


def test_missing_data_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"index\.csv"):
        read_index(tmp_path)


def test_an_index_without_a_column_is_refused(tmp_path: Path):
    (tmp_path / "index.csv").write_text("file,kind\n")
    with pytest.raises(ConfigError, match="lacks the columns"):
        read_index(tmp_path)
