"""What the demo says when it is done."""

import sys
from pathlib import Path

import pytest

from earmark.app.demo import program, where_next


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / "earmark"
    path.parent.mkdir()
    path.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    return path


def test_a_program_is_called_as_the_shell_finds_it(installed, monkeypatch):
    assert program(str(installed)) == program("bin/earmark") == "bin/earmark"
    monkeypatch.chdir(installed.parent)
    assert program(str(installed)) == "./earmark"
    monkeypatch.chdir("/")
    assert program(str(installed)).endswith(str(installed).lstrip("/"))
    monkeypatch.setenv("PATH", str(installed.parent))
    assert program(str(installed)) == "earmark"


def test_a_module_is_called_by_its_interpreter(installed, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(installed.with_name("python")))
    assert program("/somewhere/earmark/app/__main__.py") == "bin/python -m earmark.app"


def test_what_comes_next_needs_no_file():
    lines = where_next(".venv/bin/earmark").splitlines()
    assert all(line.startswith("  .venv/bin/earmark ") for line in lines[1:])
    assert ".yaml" not in where_next("earmark")
