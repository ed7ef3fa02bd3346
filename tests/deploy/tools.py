"""Programs that check what is deployed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def run_tool(tool: str, *arguments: object, package: str) -> subprocess.CompletedProcess[str]:
    """Run a program of a Debian package; where it is missing skip, but fail in CI."""
    if shutil.which(tool) is None:
        assert "CI" not in os.environ, f"{tool} must be installed in CI"
        pytest.skip(f"needs {tool}, of the Debian package {package}")
    command = [tool, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
