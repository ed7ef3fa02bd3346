"""The whole way, from labelled audio to a bundle, in a few steps on a few tones."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import numpy_helper

from earmark.app.cli import run_command
from earmark.contracts.bundle import load_bundle
from earmark.contracts.errors import ConfigError
from earmark.training import release
from earmark.training.config import TrainConfig
from earmark.training.experiment import Experiment
from engine.detector import Detector
from tests.training.small_data import LABELS, write_small_data


@pytest.fixture
def run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("N_MEASURED", "N_TUNED", "N_COUNTED", "N_MADE"):
        monkeypatch.setattr(release, name, 4)
    run = {
        "name": "tones",
        "description": "three tones",
        "data": str(write_small_data(tmp_path / "data")),
        "cache": str(tmp_path / "cache"),
        "out": str(tmp_path / "bundle"),
        "naming": {"neutral": ["pink_noise"]},
        "scenes": {"duration_s": 4.0},
        "model": {"channels": [4, 4, 4, 4, 4], "hidden": 8},
        "optim": {
            "steps": 3,
            "batch": 4,
            "pool": 16,
            "warmup_steps": 1,
            "evaluate_every": 2,
            "bf16": False,
            "threads": 1,
        },
    }
    path = tmp_path / "tones.yaml"
    path.write_text(yaml.safe_dump(run))
    return path


def test_one_command_makes_a_bundle_that_the_engine_takes(run_file: Path, capsys: pytest.CaptureFixture[str]):
    """And the same in int8 beside it, where the config asks for that."""
    run_file.write_text(f"{run_file.read_text()}\nint8: true\n")
    assert run_command(["train", "--config", str(run_file)]) == 0
    assert "clip_accuracy" in capsys.readouterr().out
    folder = run_file.parent / "bundle"
    bundle = load_bundle(folder)
    assert bundle.spec.labels == tuple(LABELS)
    lines = (folder / "CREDITS.csv").read_text().splitlines()
    assert len(lines) == 1 + sum(bundle.spec.training.licences.values())
    assert not any("_dev" in line for line in lines)
    assert "must not be used for" in (folder / "CARD.md").read_text()
    small = load_bundle(run_file.parent / "bundle-int8")
    assert small.spec.name == "tones-int8"
    assert small.spec.state_bytes < bundle.spec.state_bytes
    assert small.spec.smoothing_by_label == bundle.spec.smoothing_by_label
    assert small.spec.quality.keys() == bundle.spec.quality.keys()
    assert (small.folder / "CREDITS.csv").read_text() == (folder / "CREDITS.csv").read_text()
    assert "# tones-int8 " in (small.folder / "CARD.md").read_text()
    audio = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 10
    scores = [Detector(each.folder).scores(audio, 16_000) for each in (bundle, small)]
    assert scores[0].shape == (25, len(LABELS))
    np.testing.assert_allclose(*scores, atol=0.02)


def test_real_recordings_calibrate_and_tune_it(run_file: Path):
    """Both in float32 and in int8; the bundle and its card say what each preset gives."""
    data = run_file.parent / "data"
    clips = sorted(path.relative_to(data) for path in data.rglob("*.wav"))[:6]
    rows: list[str] = []
    expected, allowed = list(LABELS)[:2]
    for place, clip in enumerate(clips):
        named, kind = (expected, "event") if place % 2 else ("", "music")
        rows.append(f"{clip},{named},{allowed},3,{kind},tones")
    (data / "real.csv").write_text("\n".join(["file,expected,allowed,seconds,kind,title", *rows]))
    assert run_command(["train", "--config", str(run_file)]) == 0
    audio = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 10
    before = Detector(run_file.parent / "bundle").scores(audio, 16_000)
    run_file.write_text(f"{run_file.read_text()}\nreal: {data / 'real.csv'}\ncalibrate: true\nint8: true\n")
    assert run_command(["train", "--config", str(run_file), "--export-only"]) == 0
    bundle, small = load_bundle(run_file.parent / "bundle"), load_bundle(run_file.parent / "bundle-int8")
    assert set(bundle.spec.presets) == set(small.spec.presets) == {"quiet", "balanced", "keen"}
    assert {"quiet_found_share", "keen_wrong_share", "balanced_elsewhere_wrong_per_hour"} <= bundle.spec.quality.keys()
    assert "| `balanced` |" in (bundle.folder / "CARD.md").read_text()
    after, in_int8 = (Detector(each.folder).scores(audio, 16_000) for each in (bundle, small))
    assert np.abs(after - before).max() > 0.05
    np.testing.assert_allclose(in_int8, after, atol=0.02)


def test_a_bundle_of_one_class_is_made_though_no_scene_is_without_it(run_file: Path):
    """So nothing can be said of its false alarms there; on background alone it can."""
    write_small_data(run_file.parent / "data", ["hum"])
    assert run_command(["train", "--config", str(run_file)]) == 0
    quality = load_bundle(run_file.parent / "bundle").spec.quality
    assert "false_alarms_per_hour_and_class" not in quality
    assert "background_false_alarms_per_hour_and_class" in quality
    assert "nan" not in (run_file.parent / "bundle" / "CARD.md").read_text()


def test_several_networks_make_one_bundle(run_file: Path):
    """Those of the seeds one after the other, each trained as it would be alone."""
    assert run_command(["train", "--config", str(run_file), "--seed", "1"]) == 0
    alone = load_bundle(run_file.parent / "bundle")
    more = run_file.with_name("more.yaml")
    more.write_text(
        f"{{extends: {run_file.name}, name: more, members: 2, out: {run_file.parent / 'more'}, int8: true}}"
    )
    assert run_command(["train", "--config", str(more)]) == 0
    assert load_bundle(run_file.parent / "more-int8").spec.name == "more-int8"
    bundle = load_bundle(run_file.parent / "more")
    assert bundle.spec.training.recipe.startswith("configs/train/more.yaml, 3 steps, seeds 0, 1; ")
    assert bundle.spec.state_bytes == 2 * alone.spec.state_bytes
    constants = onnx.load(bundle.model_path).graph.initializer
    of_second = {each.name: each for each in constants if each.name.endswith("_net2")}
    for each in onnx.load(alone.model_path).graph.initializer:
        if f"{each.name}_net2" in of_second:
            np.testing.assert_array_equal(*map(numpy_helper.to_array, (each, of_second.pop(f"{each.name}_net2"))))
    assert not of_second


def test_a_checkpoint_exports_again_to_the_same_bundle(run_file: Path):
    assert run_command(["train", "--config", str(run_file)]) == 0
    first = load_bundle(run_file.parent / "bundle").fingerprint
    assert run_command(["train", "--config", str(run_file), "--export-only"]) == 0
    assert load_bundle(run_file.parent / "bundle").fingerprint == first


def test_a_run_does_not_go_on_with_other_sounds_and_says_what_to_do(run_file: Path, capsys: pytest.CaptureFixture[str]):
    """Neither from where it was stopped nor, all done, by exporting what knows nothing of them."""
    config = TrainConfig.load(run_file)
    trained = Experiment(config).train().state_dict()
    index = run_file.parent / "data" / "index.csv"
    before = index.read_text()
    for old, new in ((",hum,", ",siren,"), (",1.0-2.0,", ",1.0-1.9,"), (",hum,", ",drone,")):
        index.write_text(before.replace(old, new))
        with pytest.raises(ConfigError, match=r"remove the folder .*tones-"):
            Experiment(config).train()
    assert run_command(["train", "--config", str(run_file), "--export-only"]) == 2
    assert "remove the folder" in capsys.readouterr().err
    index.write_text(before.replace(",CC0,", ",CC-BY,"))
    for name, weight in Experiment(config).load().state_dict().items():
        assert weight.equal(trained[name])


def test_a_missing_checkpoint_is_one_clear_line(run_file: Path, capsys: pytest.CaptureFixture[str]):
    assert run_command(["train", "--config", str(run_file), "--export-only"]) == 2
    assert "expected a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("groups: {animals: [dog]}", "animals names ['dog'], which labels does not"),
        ("groups: {hum: [siren]}", "groups have the names of labels: ['hum']"),
        ("smoothing_by_label: {speech: {}}", "smoothing_by_label names ['speech']"),
        ("name: My Tones", "name: "),
        (f"name: {'a' * 28}\nint8: true", "-int8 behind it"),
    ],
)
def test_what_no_bundle_can_be_is_refused_before_anything_is_trained(
    run_file: Path, wrong: str, told: str, capsys: pytest.CaptureFixture[str]
):
    run_file.write_text(f"{run_file.read_text()}\n{wrong}\n")
    assert run_command(["train", "--config", str(run_file)]) == 2
    assert told in capsys.readouterr().err
    assert not list((run_file.parent / "cache").rglob("*.pt"))


@pytest.mark.parametrize("also", ["", "siren"], ids=["none", "all of two classes"])
def test_a_list_without_dev_clips_of_one_class_is_refused_before_anything_is_trained(
    run_file: Path, also: str, capsys: pytest.CaptureFixture[str]
):
    index = run_file.parent / "data" / "index.csv"
    rows = [row for row in index.read_text().splitlines() if ",dev," not in row]
    row = next(row for row in index.read_text().splitlines() if "hum_dev_0" in row)
    index.write_text("\n".join([*rows, *([row, row.replace(",hum,", f",{also},")] if also else ())]) + "\n")
    assert run_command(["train", "--config", str(run_file)]) == 2
    assert "set split to dev" in capsys.readouterr().err
    assert not list((run_file.parent / "cache").rglob("*.pt"))


@pytest.mark.data
def test_the_real_index_reads_and_keeps_its_splits_apart(data_folder: Path):
    config = TrainConfig.load(Path(__file__).parents[2] / "configs" / "train" / "urban.yaml")
    experiment = Experiment(config.model_copy(update={"data": (data_folder,), "teacher": None, "groups": {}}))
    assert len(experiment.labels) == 55  # music and flowing_water stand in the other list
    assert {recording.split for recording in experiment._bank.recordings} == {"train"}
    dev = experiment._sounds("dev")
    assert not {row.file for row in dev.recordings} & {row.file for row in experiment._bank.recordings}
    assert len(experiment._clips.labels) == 371
