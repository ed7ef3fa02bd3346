"""Every target holds for its seeds and for the same few hundred mutations of them each time; ``make fuzz`` goes on."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

RUNS = {
    "acks": 2000,
    "answers": 2000,
    "bundle": 500,
    "config": 400,
    "engine": 300,
    "history": 1000,
    "monitor": 2000,
    "records": 2000,
    "stdin": 2000,
    "wav": 1500,
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("target", sorted(path.stem for path in (Path(__file__).parent / "targets").glob("[a-z]*.py")))
def test_nothing_breaks(target, tmp_path):
    if find_spec("atheris") is None:
        assert "CI" not in os.environ, "atheris must be installed in CI"
        pytest.skip("needs atheris, which has no wheel for this machine")
    options = (f"-runs={RUNS[target]}", "-seed=1", f"-artifact_prefix={tmp_path}/")
    command = [sys.executable, "-m", "tests.fuzz", target, str(tmp_path / "corpus"), *options]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "DONE" in done.stderr
