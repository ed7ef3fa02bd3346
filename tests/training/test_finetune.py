"""A bundle learns more classes from a few clips, and forgets none."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from numpy.typing import NDArray

from earmark.app.cli import run_command
from earmark.contracts.bundle import Bundle, FrontEnd, load_bundle
from earmark.contracts.errors import BundleError, ConfigError
from earmark.training import release
from earmark.training.ensemble import ensemble
from earmark.training.finetune import FineTuning, fine_tune_config
from earmark.training.memory import MEMORY_FILE, N_EMPTY, N_PER_LABEL, N_REAL, Memory
from earmark.training.onnx_graph import head_of, with_head
from earmark.training.streaming import StreamedModel
from engine.detector import Detector
from engine.frontend import LogMel
from tests.training.small_data import LABELS, OFFSET_S, ONSET_S, RATE, write_small_data

KNOWN, NEW = ("siren", "whine"), "hum"


@pytest.fixture(scope="module", autouse=True)
def _few_scenes():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("N_MEASURED", "N_TUNED", "N_COUNTED", "N_MADE"):
            patch.setattr(release, name, 4)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that was hardly trained, and knows two of three classes."""
    folder = tmp_path_factory.mktemp("base")
    run = {
        "name": "tones", "description": "two tones", "data": str(write_small_data(folder / "data", KNOWN)),
        "cache": str(folder / "cache"), "out": str(folder / "tones"), "naming": {"neutral": ["pink_noise"]},
        "scenes": {"duration_s": 4.0}, "model": {"channels": [8, 8, 8, 8, 8], "hidden": 32},
        "optim": {"steps": 3, "batch": 4, "pool": 16, "warmup_steps": 1, "bf16": False, "threads": 1},
    }  # fmt: skip
    (folder / "tones.yaml").write_text(yaml.safe_dump(run))
    assert run_command(["train", "--config", str(folder / "tones.yaml")]) == 0
    return load_bundle(folder / "tones")


@pytest.fixture(scope="module")
def more(base: Bundle) -> Bundle:
    """The same, with a third class."""
    data = write_small_data(base.folder.parent / "more", [NEW])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base.folder.parent)
        assert run_command(["train", "--from", str(base.folder), "--data", str(data), "--out", "made/three"]) == 0
    return load_bundle(base.folder.parent / "made" / "three")


def tone(label: str) -> NDArray[np.float32]:
    """A clip's tone at another frequency than any that was trained on, and silence around it; 4 s."""
    time_s = np.arange(4 * RATE) / RATE
    is_on = (time_s >= ONSET_S) & (time_s < OFFSET_S)
    return (0.5 * np.sin(2 * np.pi * 1.02 * LABELS[label] * time_s) * is_on).astype(np.float32)


def features_of(label: str) -> NDArray[np.float32]:
    """Of `tone`, ``[1, T, n_mels]``."""
    front_end = LogMel(FrontEnd())
    return front_end(np.pad(tone(label), (front_end.tail_length, 0))[None])


def test_the_bundle_that_ships_learns_a_new_sound_from_two_clips(tmp_path: Path):
    urban = load_bundle("urban")
    data = write_small_data(tmp_path / "data", [NEW])
    config = fine_tune_config(urban, data, tmp_path / "out").model_copy(update={"cache": tmp_path / "cache"})
    tuning = FineTuning(urban, config)
    step = tuning.train()
    detector = StreamedModel(step.SerializeToString(), urban.spec.states)
    place = tuning.labels.index(NEW)
    heard = {label: detector.scores(features_of(label), 10)[0, 27:50, place].mean() for label in LABELS}
    assert heard[NEW] > 0.8
    assert heard[NEW] > tuning._least_thresholds(step)[NEW] > max(heard[label] for label in KNOWN)


def test_the_other_classes_score_as_before(base: Bundle, more: Bundle):
    assert more.spec.labels == (NEW, *KNOWN)
    audio = tone("siren") + tone(NEW)
    before, after = (Detector(bundle.folder).scores(audio, RATE) for bundle in (base, more))
    np.testing.assert_allclose(after[:, 1:], before, atol=1e-6)
    assert [more.spec.smoothing_of(label) for label in KNOWN] == [base.spec.smoothing_of(label) for label in KNOWN]


def test_real_recordings_hardly_ever_reach_the_threshold_of_a_new_class(base: Bundle, tmp_path: Path):
    """Five hours that all classes are loud in, as far as a network tells that was hardly trained."""
    folder = tmp_path / "base"
    folder.mkdir()
    for file in base.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    memory = Memory.load(base.folder, 2)
    real = (
        np.random.default_rng(0).choice(memory.heard, 18_000) * np.linspace(0.5, 1, 18_000, dtype=np.float32)[:, None]
    )
    Memory(memory.heard, memory.labels, real).save(folder)
    config = fine_tune_config(base, write_small_data(tmp_path / "data", [NEW]), tmp_path / "out")
    tuning = FineTuning(Bundle(folder, base.spec), config.model_copy(update={"cache": tmp_path / "cache"}))
    step = tuning.train()
    least = tuning._least_thresholds(step)
    weight, bias = head_of(step)
    scores = 1 / (1 + np.exp(-(Memory.load(folder, 2).real @ weight.T + bias)))
    assert list(least) == [NEW]
    of_new = scores[:, tuning.labels.index(NEW)]
    assert (of_new > least[NEW] + 1e-6).sum() <= 2 < (of_new > least[NEW] - 1e-6).sum()


def test_the_new_bundle_says_where_all_of_it_comes_from(base: Bundle, more: Bundle):
    assert more.spec.name == "three"
    assert base.identity in more.spec.description
    assert base.identity in more.spec.training.recipe
    credit = (more.folder / "CREDITS.csv").read_text().splitlines()
    assert (
        credit[: len((base.folder / "CREDITS.csv").read_text().splitlines())]
        == (base.folder / "CREDITS.csv").read_text().splitlines()
    )
    assert sum(more.spec.training.licences.values()) == len(credit) - 1
    assert any(f"{NEW}_train_0.wav" in line for line in credit)
    assert NEW in (more.folder / "CARD.md").read_text()


def test_a_made_bundle_can_be_added_to_again(more: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And a class that it knows gets better by more clips."""
    monkeypatch.chdir(tmp_path)
    data = write_small_data(tmp_path / "again", ["siren"])
    tuning = FineTuning(more, fine_tune_config(more, data, tmp_path / "again-made"))
    weight, _ = head_of(onnx.load(more.model_path))
    learnt, _ = head_of(tuning.train())
    place = more.spec.labels.index("siren")
    assert not np.allclose(learnt[place], weight[place])
    np.testing.assert_array_equal(np.delete(learnt, place, axis=0), np.delete(weight, place, axis=0))


def test_replace_forgets_what_the_new_list_does_not_have(base: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    data = write_small_data(tmp_path / "data", ["siren", NEW])
    command = ["train", "--from", str(base.folder), "--data", str(data), "--out", "two", "--replace"]
    assert run_command(command) == 0
    bundle = load_bundle(tmp_path / "two")
    assert bundle.spec.labels == (NEW, "siren")
    assert Memory.load(bundle.folder, 2).labels.any(axis=0).all()


def test_a_bundle_of_several_networks_costs_as_much_as_all_of_them(base: Bundle, tmp_path: Path):
    alone = onnx.load(base.model_path)
    step, states = ensemble([(alone, base.spec.states)] * 2)
    pair = tmp_path / "pair"
    pair.mkdir()
    (pair / "model.onnx").write_bytes(step.SerializeToString())
    (pair / "bundle.json").write_text(base.spec.model_copy(update={"states": states}).model_dump_json())
    memory = Memory.load(base.folder, 2)
    Memory(np.repeat(memory.heard, 2, axis=1), memory.labels, np.repeat(memory.real, 2, axis=1)).save(pair)
    data = write_small_data(tmp_path / "data", [NEW])
    config = fine_tune_config(base, data, tmp_path / "out").model_copy(update={"cache": tmp_path / "cache"})
    expected = FineTuning(base, config)._cost(alone).times(2)
    assert FineTuning(load_bundle(pair), config)._cost(step) == expected


def test_a_class_that_is_named_like_a_group_is_refused_before_anything_is_trained(base: Bundle, tmp_path: Path):
    """But for a group of which nothing is left: it goes with its classes."""
    spec = base.spec.model_copy(update={"groups": {NEW: ("siren",), "high": ("siren", "whine"), "low": ("whine",)}})
    data = write_small_data(tmp_path / "data", [NEW])
    config = fine_tune_config(base, data, tmp_path / "out").model_copy(update={"cache": tmp_path / "cache"})
    with pytest.raises(ConfigError, match=f"got {NEW}; give them other labels"):
        FineTuning(Bundle(base.folder, spec), config)
    assert FineTuning(Bundle(base.folder, spec), config, replace=True)._spec().groups == {}


def test_the_memory_holds_what_was_chosen_in_eight_bits(tmp_path: Path):
    rng = np.random.default_rng(0)
    heard = rng.uniform(-1, 1, (5000, 16)).astype(np.float32)
    labels = rng.random((5000, 11)) < 0.02
    memory = Memory.choose(heard, labels, np.repeat(-heard, 2, axis=0), rng)
    assert (memory.labels.sum(axis=0) >= N_PER_LABEL).all()
    assert N_EMPTY <= (~memory.labels.any(axis=1)).sum() <= N_EMPTY + 1
    memory.save(tmp_path)
    loaded = Memory.load(tmp_path, 11)
    np.testing.assert_array_equal(loaded.labels, memory.labels)
    assert len(loaded.real) == N_REAL
    for frames, kept in ((loaded.heard, memory.heard), (loaded.real, memory.real)):
        np.testing.assert_allclose(frames, kept, atol=0.5 / 127 + 1e-6)
    with pytest.raises(BundleError, match="to tell of 30 classes"):
        Memory.load(tmp_path, 30)
    path = tmp_path / MEMORY_FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BundleError, match="found none that can be read"):
        Memory.load(tmp_path, 11)


def test_another_head_gives_another_number_of_scores(base: Bundle):
    step = onnx.load(base.model_path)
    weight, bias = head_of(step)
    assert weight.shape == (2, 32)
    wider = with_head(step, np.repeat(weight, 3, axis=0), np.repeat(bias, 3))
    np.testing.assert_array_equal(head_of(wider)[1], np.repeat(bias, 3))
    with pytest.raises(BundleError, match="head_weight"):
        head_of(onnx.ModelProto())


def test_a_bundle_without_a_memory_says_so(base: Bundle, tmp_path: Path):
    folder = tmp_path / "tones"
    folder.mkdir()
    for file in base.folder.iterdir():
        if file.name != MEMORY_FILE:
            (folder / file.name).write_bytes(file.read_bytes())
    data = write_small_data(tmp_path / "data", [NEW])
    bundle = load_bundle(folder)
    with pytest.raises(BundleError, match=r"memory\.npz"):
        FineTuning(bundle, fine_tune_config(bundle, data, tmp_path / "out"))


def test_a_class_without_dev_clips_is_refused_before_anything_is_trained(base: Bundle, tmp_path: Path):
    data = write_small_data(tmp_path / "data", [NEW, "siren"])
    index = (data / "index.csv").read_text().splitlines()
    (data / "index.csv").write_text("\n".join(line for line in index if f"{NEW}_dev" not in line))
    config = fine_tune_config(base, data, tmp_path / "out")
    config = config.model_copy(update={"cache": tmp_path / "cache"})
    with pytest.raises(ConfigError, match=f"none with split dev of {NEW}"):
        FineTuning(base, config)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "urban"],
        ["--data", "x.csv"],
        [],
        ["--config", "x.yaml", "--from", "urban", "--data", "x.csv"],
        ["--from", "urban", "--data", "x.csv", "--steps", "3"],
        ["--config", "x.yaml", "--replace"],
    ],
    ids=" ".join,
)
def test_arguments_that_do_not_go_together_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert run_command(["train", *arguments]) == 2
    assert "--from and --data" in capsys.readouterr().err


def test_a_folder_that_cannot_name_a_bundle_is_refused(base: Bundle, tmp_path: Path):
    data = write_small_data(tmp_path / "data", [NEW])
    with pytest.raises(ConfigError, match="'My Sounds'"):
        fine_tune_config(base, data, tmp_path / "My Sounds")
