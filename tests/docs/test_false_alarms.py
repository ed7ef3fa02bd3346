"""What the page on false alarms shows can be used as it stands."""

import re
from pathlib import Path

import yaml

from earmark.app.config import ServiceConfig
from earmark.contracts.bundle import load_bundle
from earmark.evaluation.real import read_real

PAGE = (Path(__file__).parents[2] / "docs" / "false-alarms.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The page's examples in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_its_configurations_load():
    configs = [ServiceConfig.model_validate(yaml.safe_load(block)) for block in blocks("yaml")]
    assert len(configs) == 5
    labels = load_bundle("urban").spec.event_labels
    for config in configs:
        for stream in config.streams.values():
            assert set(stream.labels) <= set(labels)


def test_its_list_of_recordings_can_be_read(tmp_path: Path):
    (block,) = blocks("csv")
    (tmp_path / "list.csv").write_text(block)
    for name in ("night-1.wav", "siren-1.wav"):
        (tmp_path / name).write_bytes(b"")
    assert [(one.expected, one.allowed) for one in read_real(tmp_path / "list.csv")] == [
        ("", {"wind", "rain"}),
        ("siren", {"engine"}),
    ]
