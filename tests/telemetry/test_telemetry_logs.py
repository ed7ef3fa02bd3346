"""What a process writes to stderr: JSON where a program reads it, lines where a person does."""

import json
import os
import pty
import subprocess
import sys

import pytest

from earmark.contracts.errors import ConfigError
from earmark.telemetry.logs import configure_logging

_PROGRAM = """
import logging, structlog, warnings
from earmark.telemetry.logs import configure_logging
log = structlog.get_logger()
configure_logging("engine")
log.debug("too fine")
log.info("started", streams=3)
logging.getLogger("earmark.client").info("ours")
logging.getLogger("library").info("theirs, too fine")
logging.getLogger("library").warning("theirs")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
try:
    raise OSError(5, "Input/output error", "rtsp://viewer:HID%40DEN@camera/live?key=HIDDEN")
except OSError as error:
    log.exception("again", url="http://u:HIDDEN@host/a", error=error)
    logging.getLogger("library").exception("no rtsp://viewer:HIDDEN@camera")
"""


def _run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_json_lines_with_utc_and_process():
    done = _run()
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == ""
    assert [line["event"] for line in lines] == [
        *("started", "ours", "theirs", "failed", "again"),
        "no rtsp://viewer:***@camera",
    ]
    assert all(line["process"] == "engine" and line["timestamp"].endswith("Z") for line in lines)
    assert lines[0] == {**lines[0], "level": "info", "streams": 3}
    assert "ZeroDivisionError" in lines[3]["exception"]


def test_no_log_shows_a_password_whoever_quotes_it():
    text = _run().stderr
    assert "HIDDEN" not in text
    assert "DEN@" not in text
    again = json.loads(text.splitlines()[4])
    assert again["url"] == "http://u:***@host/a"
    assert "rtsp://viewer:***@camera/live?***" in again["exception"]


def test_the_level_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    assert len(_run(EARMARK_LOG_LEVEL="debug").stderr.splitlines()) == 7
    assert [json.loads(line)["event"] for line in _run(EARMARK_LOG_LEVEL="ERROR").stderr.splitlines()] == [
        "failed",
        "again",
        "no rtsp://viewer:***@camera",
    ]
    monkeypatch.setenv("EARMARK_LOG_LEVEL", "loud")
    with pytest.raises(ConfigError, match=r"EARMARK_LOG_LEVEL to be one of debug, info.*got 'loud'"):
        configure_logging("engine")


def test_lines_for_people_on_a_terminal():
    terminal, end = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", _PROGRAM], stderr=end, check=True, timeout=60)
        text = os.read(terminal, 65536).decode()
    finally:
        os.close(end)
        os.close(terminal)
    assert "started" in text
    assert not text.startswith("{")
