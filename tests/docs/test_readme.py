"""What the README shows can be used as it stands."""

import re
from pathlib import Path

import pytest

from earmark.app.cli import run_command

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def test_earmark_run_takes_its_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (block,) = re.findall(r"^```yaml\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    path = tmp_path / "street.yaml"
    path.write_text(block)
    monkeypatch.setenv("CAMERA_PASSWORD", "secret")
    assert run_command(["config", "check", str(path)]) == 0
